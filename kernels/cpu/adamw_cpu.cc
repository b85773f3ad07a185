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

namespace {

// Moves the two moments of an element and returns its new weight.
inline __attribute__((always_inline)) float move(const AdamWStep& s, float gradient, float w, float* m, float* v) {
  const float g = s.gradient_scale * gradient;
  const float m1 = s.beta1 * *m + (1.0F - s.beta1) * g;
  const float v1 = s.beta2 * *v + ((1.0F - s.beta2) * g) * g;
  const float direction = (m1 * s.correction1) / (__builtin_sqrtf(v1 * s.correction2) + s.epsilon);
  *m = m1;
  *v = v1;
  return w - s.learning_rate * (direction + s.weight_decay * w);
}

}  // namespace

FRESHET_MULTIVERSION void adamw(const AdamWStep& step, size_t count, const float* __restrict gradient,
                                float* __restrict w, float* __restrict m, float* __restrict v) {
  const AdamWStep s = step;
  for (size_t i = 0; i < count; ++i) w[i] = move(s, gradient[i], w[i], m + i, v + i);
}

FRESHET_MULTIVERSION void adamw_and_round(const AdamWStep& step, size_t count, const float* __restrict gradient,
                                          float* __restrict w, float* __restrict m, float* __restrict v,
                                          Bfloat16* __restrict rounded) {
  const AdamWStep s = step;
  for (size_t i = 0; i < count; ++i) {
    const float moved = move(s, gradient[i], w[i], m + i, v + i);
    w[i] = moved;
    rounded[i] = to_bfloat16(moved);
  }
}

}  // namespace freshet::kernels
