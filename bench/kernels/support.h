// Inputs and comparisons of the kernel benchmarks.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "base/random.h"

namespace freshet::kernels {

// Values in [-1, 1), different for each name; the same in every run.
inline std::vector<float> values(size_t count, const char* name) {
  Philox philox(1, stream_of(name));
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(2 * philox.uniform(i) - 1);
  return values;
}

inline bool close(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])) <= tolerance)) return false;
  }
  return true;
}

}  // namespace freshet::kernels
