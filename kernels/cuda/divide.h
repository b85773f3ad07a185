// A division of numbers that stay on the device: from a sum of losses to their mean. Work is queued on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// values[i] /= divisor.
Status divide(size_t count, double divisor, double* values, CudaStream stream);

}  // namespace freshet::cuda
