// The one place where an error of the CUDA runtime becomes a Status. Only for files that are built with CUDA.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "base/status.h"

namespace freshet::cuda {

inline Status checked(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return Status::ok();
  (void)cudaGetLastError();  // else the next launch takes it for its own
  return internal(std::string(call) + " failed: " + cudaGetErrorString(error));
}

}  // namespace freshet::cuda
