# Turns the CUDA language on: call freshet_enable_cuda() at file scope, in the top CMakeLists.txt.
#
# The compiler: one that the user names (CMAKE_CUDA_COMPILER or CUDACXX) wins; then the toolkit in FRESHET_DEPS_DIR, which
# scripts/setup --cuda makes only where the system's is missing or too old; then the system's. The code is C++20, for which
# Debian 12's CMake 3.25 lacks the compiler's flag. Without CMAKE_CUDA_ARCHITECTURES it is built for the H100 and H200.
include_guard(GLOBAL)
include(FreshetDeps)

function(_freshet_choose_cuda_compiler)
  if(CMAKE_CUDA_COMPILER OR DEFINED ENV{CUDACXX})
    return()
  endif()
  set(nvcc "${FRESHET_DEPS_DIR}/cuda/bin/nvcc")
  if(NOT EXISTS "${nvcc}")
    find_program(FRESHET_NVCC nvcc HINTS /usr/local/cuda/bin)
    mark_as_advanced(FRESHET_NVCC)
    set(nvcc "${FRESHET_NVCC}")
  endif()
  if(NOT nvcc)
    message(FATAL_ERROR "There is no CUDA compiler on the system nor in ${FRESHET_DEPS_DIR}. Run scripts/setup --cuda.")
  endif()
  set(CMAKE_CUDA_COMPILER "${nvcc}" CACHE FILEPATH "The CUDA compiler")
endfunction()

# A macro, because enable_language() sets variables of its caller.
macro(freshet_enable_cuda)
  _freshet_choose_cuda_compiler()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a)
  endif()
  # CMake tries the compiler with CMAKE_CUDA_STANDARD, so the standard is set only when its flag is known.
  unset(CMAKE_CUDA_STANDARD)
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  # CUDA 13 has no nvToolsExt any more. CMake 3.25's module marks that target as deprecated all the same, and fails, for
  # projects that require 3.25; it is told of an older one for this call.
  set(_freshet_cmake_version_min ${CMAKE_MINIMUM_REQUIRED_VERSION})
  set(CMAKE_MINIMUM_REQUIRED_VERSION 3.24)
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_MINIMUM_REQUIRED_VERSION ${_freshet_cmake_version_min})
endmacro()
