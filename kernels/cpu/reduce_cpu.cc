#include "kernels/reduce.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void tree_add(size_t count, const float* __restrict b, float* __restrict a) {
  for (size_t i = 0; i < count; ++i) a[i] += b[i];
}

FRESHET_MULTIVERSION void block_sums_of_squares(size_t count, const float* __restrict values, double* __restrict sums) {
  constexpr size_t kLanes = 8;
  for (size_t start = 0; start < count; start += kBlock) {
    size_t end = std::min(count, start + kBlock);
    double lane[kLanes] = {};
    size_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) {
        double value = static_cast<double>(values[i + l]);
        lane[l] += value * value;
      }
    }
    for (size_t l = 0; i + l < end; ++l) {
      double value = static_cast<double>(values[i + l]);
      lane[l] += value * value;
    }
    sums[start / kBlock] = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  }
}

}  // namespace freshet::kernels
