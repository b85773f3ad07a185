# Where scripts/setup puts what Debian does not have: FRESHET_DEPS_DIR, the same variable that the script reads.
include_guard(GLOBAL)

cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH _freshet_root)
if(DEFINED ENV{FRESHET_DEPS_DIR})
  set(_freshet_deps_default "$ENV{FRESHET_DEPS_DIR}")
else()
  set(_freshet_deps_default "${_freshet_root}/.deps")
endif()
set(FRESHET_DEPS_DIR "${_freshet_deps_default}" CACHE PATH "What scripts/setup has downloaded")

# For the test of /metrics; Debian's where it is installed.
find_program(FRESHET_PROMTOOL promtool HINTS "${FRESHET_DEPS_DIR}/bin")
mark_as_advanced(FRESHET_PROMTOOL)
