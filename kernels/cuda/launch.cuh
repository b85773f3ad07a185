// How kernels are written and started, so that the same source is compiled by nvcc and, for the tests of a machine
// without a GPU, by the C++ compiler over the emulation (emulated/threads.h). A kernel is a __global__ function; it is
// started with launch(), never with <<<>>>, and takes its dynamic shared memory from dynamic_shared(). Instructions
// that need inline PTX have a header each that holds both forms.
#pragma once

#if defined(__CUDACC__)
#include <cuda_runtime.h>
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
  auto failed = [name](cudaError_t error) {
    (void)cudaGetLastError();  // else the next launch takes it for its own
    return internal(std::string("launching ") + name + " failed: " + cudaGetErrorString(error));
  };
  if (shape.shared_bytes > 48 * 1024) {
    if (auto error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(shape.shared_bytes));
        error != cudaSuccess) {
      return failed(error);
    }
  }
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream>>>(arguments...);
  auto error = cudaGetLastError();
  return error == cudaSuccess ? Status::ok() : failed(error);
#else
  return emulated::queue_kernel(name, {shape.grid, shape.block, shape.shared_bytes}, stream,
                                [=] { kernel(arguments...); });
#endif
}

}  // namespace freshet::cuda
