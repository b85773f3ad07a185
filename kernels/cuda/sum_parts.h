// The second stage of sums over rows that blocks have made in parts: first each block sums its own rows, then the parts
// are added here, in an order that depends on their number alone. Device memory; work is queued on the stream.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

// sums[c] = the sum of parts[0..count)[columns]' column c. Where there are `more_sums`, as many parts for them lie
// behind these.
Status sum_parts(size_t count, size_t columns, const float* parts, float* sums, float* more_sums, CudaStream stream);

}  // namespace freshet::cuda
