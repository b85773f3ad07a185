#include "kernels/reduce.h"

namespace freshet::kernels::ref {

void block_sums_of_squares(size_t count, const float* values, double* sums) {
  for (size_t start = 0; start < count; start += kBlock) {
    long double sum = 0;
    for (size_t i = start; i < count && i < start + kBlock; ++i) {
      sum += static_cast<long double>(values[i]) * static_cast<long double>(values[i]);
    }
    sums[start / kBlock] = static_cast<double>(sum);
  }
}

}  // namespace freshet::kernels::ref
