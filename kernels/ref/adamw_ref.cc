#include "kernels/adamw.h"

#include <cmath>

namespace freshet::kernels::ref {

void adamw(const AdamWStep& step, size_t count, const float* gradient, float* w, float* m, float* v) {
  double beta1 = static_cast<double>(step.beta1);
  double beta2 = static_cast<double>(step.beta2);
  for (size_t i = 0; i < count; ++i) {
    double g = static_cast<double>(step.gradient_scale) * static_cast<double>(gradient[i]);
    double m1 = beta1 * static_cast<double>(m[i]) + (1 - beta1) * g;
    double v1 = beta2 * static_cast<double>(v[i]) + (1 - beta2) * g * g;
    double direction = m1 * static_cast<double>(step.correction1) /
                       (std::sqrt(v1 * static_cast<double>(step.correction2)) + static_cast<double>(step.epsilon));
    double decay = static_cast<double>(step.weight_decay) * static_cast<double>(w[i]);
    w[i] =
        static_cast<float>(static_cast<double>(w[i]) - static_cast<double>(step.learning_rate) * (direction + decay));
    m[i] = static_cast<float>(m1);
    v[i] = static_cast<float>(v1);
  }
}

}  // namespace freshet::kernels::ref
