#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>

namespace freshet::kernels::ref {

double cross_entropy(size_t rows, size_t columns, const float* logits, const int32_t* target, float scale,
                     float* gradient) {
  double loss = 0;
  for (size_t r = 0; r < rows; ++r) {
    const float* row = logits + r * columns;
    auto largest = static_cast<double>(*std::max_element(row, row + columns));
    double sum = 0;
    for (size_t c = 0; c < columns; ++c) sum += std::exp(static_cast<double>(row[c]) - largest);
    if (target[r] >= 0) loss += largest + std::log(sum) - static_cast<double>(row[target[r]]);
    for (size_t c = 0; c < columns; ++c) {
      double p = std::exp(static_cast<double>(row[c]) - largest) / sum;
      if (static_cast<int64_t>(c) == target[r]) p -= 1;
      gradient[r * columns + c] = target[r] < 0 ? 0 : static_cast<float>(p * static_cast<double>(scale));
    }
  }
  return loss;
}

}  // namespace freshet::kernels::ref
