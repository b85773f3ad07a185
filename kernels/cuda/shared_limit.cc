#include "kernels/cuda/shared_limit.h"

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/checked.h"

namespace freshet::cuda {

// The limit belongs to the kernel, not to a launch: a thread that lowered it between another's call of this and that
// one's launch would make the launch fail. So it only grows.
Status allow_shared_bytes(const void* kernel, size_t bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, size_t> allowed;
  int device = 0;
  RETURN_IF_ERROR(checked(cudaGetDevice(&device), "cudaGetDevice"));
  std::lock_guard lock(mutex);
  size_t& most = allowed[{device, kernel}];
  if (bytes <= most) return Status::ok();
  RETURN_IF_ERROR(
      checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
              "cudaFuncSetAttribute"));
  most = bytes;
  return Status::ok();
}

}  // namespace freshet::cuda
