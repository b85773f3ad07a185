// Seeded inputs for kernel tests, and comparisons that say where two arrays differ. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"

namespace freshet::kernels {

// Values in [-1, 1), different for each name; the same in every run.
inline std::vector<float> random_values(size_t count, const std::string& name, float scale = 1.0F) {
  Philox philox(20260101, stream_of(name));
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = scale * static_cast<float>(2 * philox.uniform(i) - 1);
  return values;
}

inline void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(float)), 0) << "element " << i << ": " << a[i] << " and " << b[i];
  }
}

inline void expect_close(const std::vector<float>& actual, const std::vector<float>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(actual[i]), static_cast<double>(expected[i]), tolerance) << "element " << i;
  }
}

// Central differences of value() over every element of `at`, which is put back.
template <typename Value>
void expect_finite_differences(Value value, std::vector<float>& at, const std::vector<float>& gradient, float step,
                               double tolerance) {
  for (size_t i = 0; i < at.size(); ++i) {
    const float old = at[i];
    at[i] = old + step;
    const double above = value();
    at[i] = old - step;
    const double below = value();
    at[i] = old;
    EXPECT_NEAR((above - below) / (2 * static_cast<double>(step)), static_cast<double>(gradient[i]), tolerance)
        << "element " << i;
  }
}

// Half the distance between neighbouring floats at 1: the relative error of one rounding.
inline constexpr double kRounding = 0x1p-24;

}  // namespace freshet::kernels
