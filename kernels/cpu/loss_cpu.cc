#include "kernels/loss.h"

#include <cmath>

namespace freshet::kernels {

// One exp of a value that is not positive serves both the loss and the sigmoid, and cannot overflow. In double: a row
// costs two calls of libm, a few per cent of the row's matrix products.
double bce_with_logits(size_t rows, const float* logit, const float* label, const float* weight, float scale,
                       float* gradient) {
  double sum = 0;
  for (size_t r = 0; r < rows; ++r) {
    double x = static_cast<double>(logit[r]);
    double y = static_cast<double>(label[r]);
    double w = weight == nullptr ? 1.0 : static_cast<double>(weight[r]);
    double small = std::exp(-std::fabs(x));
    double sigmoid = (x >= 0 ? 1.0 : small) / (1.0 + small);
    sum += w * (std::log1p(small) + (x > 0 ? x : 0.0) - y * x);
    gradient[r] = static_cast<float>(w * (sigmoid - y) * static_cast<double>(scale));
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

}  // namespace freshet::kernels
