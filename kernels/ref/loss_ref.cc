#include "kernels/loss.h"

#include <cmath>

namespace freshet::kernels::ref {

double bce_with_logits(size_t rows, const float* logit, const float* label, const float* weight, float scale,
                       float* gradient) {
  double sum = 0;
  for (size_t r = 0; r < rows; ++r) {
    long double x = logit[r];
    long double y = label[r];
    long double w = weight == nullptr ? 1 : weight[r];
    sum += static_cast<double>(w * (std::log1p(std::exp(-std::fabs(x))) + std::fmax(x, 0.0L) - y * x));
    gradient[r] = static_cast<float>(w * (1 / (1 + std::exp(-x)) - y) * static_cast<long double>(scale));
  }
  return sum;
}

double squared_error(size_t rows, const float* prediction, const float* target, const float* weight, float scale,
                     float* gradient) {
  double sum = 0;
  for (size_t r = 0; r < rows; ++r) {
    double difference = static_cast<double>(prediction[r]) - static_cast<double>(target[r]);
    double w = weight == nullptr ? 1.0 : static_cast<double>(weight[r]);
    sum += w * (difference * difference);
    gradient[r] = static_cast<float>(2 * w * difference * static_cast<double>(scale));
  }
  return sum;
}

}  // namespace freshet::kernels::ref
