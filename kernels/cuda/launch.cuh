// How kernels are written and started, so that the same source is compiled by nvcc and, for the tests of a machine
// without a GPU, by the C++ compiler over the emulation (emulated/threads.h). A kernel is a __global__ function; it is
// started with launch(), never with <<<>>>, and takes its dynamic shared memory from dynamic_shared(). Instructions
// that need inline PTX have a header each that holds both forms.
#pragma once

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include "kernels/cuda/shared_limit.h"
#else
#include "kernels/cuda/emulated/threads.h"
#endif

#include <cstddef>
#include <string>
#include <type_traits>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // of dynamic shared memory
};

#if defined(__CUDACC__)
// On a border of 1024 bytes, as the swizzled layouts of the tensor cores want it.
template <class T = std::byte>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) std::byte freshet_dynamic_shared[];
  return reinterpret_cast<T*>(freshet_dynamic_shared);
}
#endif

// Queues the kernel. `name` is for errors.
template <class... Parameters>
Status launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape, CudaStream stream,
              std::type_identity_t<Parameters>... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return Status::ok();
#if defined(__CUDACC__)
  // What needs no permission is 48 KiB together with the kernel's static shared memory, which is not known here.
  if (shape.shared_bytes > 0) {
    Status allowed = allow_shared_bytes(reinterpret_cast<const void*>(kernel), shape.shared_bytes);
    if (!allowed.is_ok()) return allowed.with_context(name);
  }
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? Status::ok()
                              : internal(std::string("launching ") + name + " failed: " + cudaGetErrorString(error));
#else
  return emulated::queue_kernel(name, {shape.grid, shape.block, shape.shared_bytes}, stream,
                                [=] { kernel(arguments...); });
#endif
}

}  // namespace freshet::cuda
