# Finds NCCL beside the CUDA toolkit (find_package(CUDAToolkit) comes first) and gives the imported target Nccl::nccl.
find_path(Nccl_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(Nccl_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
mark_as_advanced(Nccl_INCLUDE_DIR Nccl_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Nccl
  REQUIRED_VARS Nccl_LIBRARY Nccl_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "Run scripts/setup --cuda, or install libnccl-dev where the system's toolkit is used.")

if(Nccl_FOUND AND NOT TARGET Nccl::nccl)
  add_library(Nccl::nccl SHARED IMPORTED GLOBAL)
  set_target_properties(Nccl::nccl PROPERTIES
    IMPORTED_LOCATION "${Nccl_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Nccl_INCLUDE_DIR}")
endif()
