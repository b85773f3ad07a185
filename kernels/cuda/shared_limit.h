// How much dynamic shared memory a block of a kernel may have. For launch.cuh, and only for files that are built with
// CUDA.
#pragma once

#include <cstddef>

#include "base/status.h"

namespace freshet::cuda {

// Lets launches of the kernel on the current device take so much, from now on. Any thread.
Status allow_shared_bytes(const void* kernel, size_t bytes);

}  // namespace freshet::cuda
