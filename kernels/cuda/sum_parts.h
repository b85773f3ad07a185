// The second stage of sums over rows that blocks have made in parts: first each block sums its own rows, then the parts
// are added here, in an order that depends on their number alone. Device memory; work is queued on the stream.
#pragma once

#include <cstddef>
#include <initializer_list>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

inline constexpr size_t kSumsMax = 3;

// For each i, sums[i][c] = the sum of parts[i][0..count)[columns]' column c. One to kSumsMax of them.
Status sum_parts(size_t count, size_t columns, const float* parts, std::initializer_list<float*> sums,
                 CudaStream stream);

}  // namespace freshet::cuda
