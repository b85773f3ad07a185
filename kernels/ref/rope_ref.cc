#include "kernels/rope.h"

#include <cmath>

namespace freshet::kernels::ref {

void rope(const RopeShape& shape, double base, size_t first, bool backwards, float* x) {
  const size_t half = shape.size / 2;
  for (size_t r = 0; r < shape.rows; ++r) {
    for (size_t head = 0; head < shape.heads; ++head) {
      float* values = x + r * shape.stride + head * shape.size;
      for (size_t i = 0; i < half; ++i) {
        double angle = static_cast<double>(first + r) *
                       std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(shape.size));
        if (backwards) angle = -angle;
        auto a = static_cast<double>(values[i]), b = static_cast<double>(values[i + half]);
        values[i] = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
        values[i + half] = static_cast<float>(b * std::cos(angle) + a * std::sin(angle));
      }
    }
  }
}

}  // namespace freshet::kernels::ref
