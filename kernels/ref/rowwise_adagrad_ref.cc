#include "kernels/rowwise_adagrad.h"

#include <cmath>

namespace freshet::kernels::ref {

void rowwise_adagrad(const RowwiseAdagradStep& step, size_t dim, const float* gradient, float* row, float* sum) {
  double squares = 0;
  for (size_t d = 0; d < dim; ++d) squares += static_cast<double>(gradient[d]) * static_cast<double>(gradient[d]);
  const double total = static_cast<double>(*sum) + squares / static_cast<double>(dim);
  const double scale = static_cast<double>(step.learning_rate) / (std::sqrt(total) + static_cast<double>(step.epsilon));
  for (size_t d = 0; d < dim; ++d) {
    row[d] = static_cast<float>(static_cast<double>(row[d]) - scale * static_cast<double>(gradient[d]));
  }
  *sum = static_cast<float>(total);
}

}  // namespace freshet::kernels::ref
