#include "kernels/adamw.h"

#include <cmath>

#include "base/check.h"
#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

void set_corrections(uint64_t t, AdamWStep* step) {
  CHECK(t > 0);
  // By repeated squaring, so that no libm decides the bits.
  auto power = [t](double base) {
    double result = 1;
    for (uint64_t left = t; left != 0; left >>= 1) {
      if (left & 1) result *= base;
      base *= base;
    }
    return result;
  };
  step->correction1 = static_cast<float>(1 / (1 - power(static_cast<double>(step->beta1))));
  step->correction2 = static_cast<float>(1 / (1 - power(static_cast<double>(step->beta2))));
}

FRESHET_MULTIVERSION void adamw(const AdamWStep& step, size_t count, const float* __restrict gradient,
                                float* __restrict w, float* __restrict m, float* __restrict v) {
  const AdamWStep s = step;
  const float rest1 = 1.0F - s.beta1;
  const float rest2 = 1.0F - s.beta2;
  for (size_t i = 0; i < count; ++i) {
    float g = s.gradient_scale * gradient[i];
    float m1 = s.beta1 * m[i] + rest1 * g;
    float v1 = s.beta2 * v[i] + (rest2 * g) * g;
    float direction = (m1 * s.correction1) / (__builtin_sqrtf(v1 * s.correction2) + s.epsilon);
    w[i] = w[i] - s.learning_rate * (direction + s.weight_decay * w[i]);
    m[i] = m1;
    v[i] = v1;
  }
}

}  // namespace freshet::kernels
