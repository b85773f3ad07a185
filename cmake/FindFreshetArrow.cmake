# Finds Apache Arrow C++ with Parquet and gives the imported targets Arrow::arrow and Arrow::parquet.
#
# The system's CMake packages are used where they are recent enough. Else the headers and libraries inside the pyarrow
# wheel are linked, which scripts/setup puts into FRESHET_DEPS_DIR. A wheel holds only libraries with a version in their
# name (libarrow.so.2200), so they are named by file; as they have an RPATH of their own ($ORIGIN), and CMake writes theirs
# into what links them, nothing needs LD_LIBRARY_PATH.
include(FreshetDeps)

set(FreshetArrow_FOUND FALSE)
set(_freshet_arrow_version_min 20)

if(NOT TARGET Arrow::arrow)
  find_package(Arrow CONFIG QUIET)
  find_package(Parquet CONFIG QUIET)
  if(Arrow_FOUND AND Parquet_FOUND AND Arrow_VERSION VERSION_GREATER_EQUAL _freshet_arrow_version_min)
    add_library(Arrow::arrow INTERFACE IMPORTED GLOBAL)
    target_link_libraries(Arrow::arrow INTERFACE Arrow::arrow_shared)
    add_library(Arrow::parquet INTERFACE IMPORTED GLOBAL)
    target_link_libraries(Arrow::parquet INTERFACE Parquet::parquet_shared Arrow::arrow)
    set(FreshetArrow_VERSION ${Arrow_VERSION})
    set(_freshet_arrow_where "${Arrow_DIR}")
  else()
    file(GLOB _freshet_arrow_library "${FRESHET_DEPS_DIR}/venv/lib/python3*/site-packages/pyarrow/libarrow.so.*")
    if(_freshet_arrow_library MATCHES "^[^;]+/libarrow\\.so\\.([0-9]+)$")
      set(_freshet_arrow_soversion ${CMAKE_MATCH_1})
      cmake_path(GET _freshet_arrow_library PARENT_PATH _freshet_arrow_where)
      math(EXPR FreshetArrow_VERSION "${_freshet_arrow_soversion} / 100")
      foreach(_freshet_name arrow parquet)
        set(_freshet_file "${_freshet_arrow_where}/lib${_freshet_name}.so.${_freshet_arrow_soversion}")
        if(NOT EXISTS "${_freshet_file}")
          message(FATAL_ERROR "${_freshet_file} is missing. Remove ${FRESHET_DEPS_DIR}/venv and run scripts/setup.")
        endif()
        add_library(Arrow::${_freshet_name} SHARED IMPORTED GLOBAL)
        set_target_properties(Arrow::${_freshet_name} PROPERTIES
          IMPORTED_LOCATION "${_freshet_file}"
          IMPORTED_SONAME "lib${_freshet_name}.so.${_freshet_arrow_soversion}"
          INTERFACE_INCLUDE_DIRECTORIES "${_freshet_arrow_where}/include")
      endforeach()
      set_property(TARGET Arrow::parquet PROPERTY INTERFACE_LINK_LIBRARIES Arrow::arrow)
    endif()
  endif()
  if(NOT TARGET Arrow::arrow AND FreshetArrow_FIND_REQUIRED)
    message(FATAL_ERROR "Arrow C++ was found neither on the system nor in ${FRESHET_DEPS_DIR}. Run scripts/setup.")
  endif()
  if(TARGET Arrow::arrow AND NOT FreshetArrow_FIND_QUIETLY)
    message(STATUS "Arrow ${FreshetArrow_VERSION} from ${_freshet_arrow_where}")
  endif()
endif()

if(TARGET Arrow::arrow)
  set(FreshetArrow_FOUND TRUE)
endif()
