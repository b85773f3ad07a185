# cmake -DSOURCE= -DTARGET= -DFROM= -DTO= -P plant.cmake: a copy of a source with one thing taken out. Fails when it is
# not there, so that a plant does not stop being one unseen.
file(READ "${SOURCE}" text)
string(FIND "${text}" "${FROM}" at)
if(at EQUAL -1)
  message(FATAL_ERROR "${SOURCE} does not hold \"${FROM}\" any more: say in tests/power/CMakeLists.txt what to take out instead")
endif()
string(REPLACE "${FROM}" "${TO}" text "${text}")
file(WRITE "${TARGET}" "${text}")
