#include "kernels/float8.h"

#include <gtest/gtest.h>

#include <limits>

namespace freshet::kernels {
namespace {

TEST(Float8, EveryValueComesBack) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const auto value = static_cast<Float8>(bits);
    const float wide = float8_to_float(value);
    if ((bits & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(wide)) << bits;
    } else {
      EXPECT_EQ(to_float8(wide), value) << bits;
    }
  }
  EXPECT_EQ(float8_to_float(0x01), 0x1p-9F);
  EXPECT_EQ(float8_to_float(0x38), 1.0F);
  EXPECT_EQ(float8_to_float(0x7E), kFloat8Max);
  EXPECT_EQ(float8_to_float(0xBC), -1.5F);
}

TEST(Float8, RoundsToTheNearestAndTiesToEven) {
  for (unsigned bits = 0; bits < 0x7E; ++bits) {
    const float low = float8_to_float(static_cast<Float8>(bits)), high = float8_to_float(static_cast<Float8>(bits + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(to_float8(std::nextafter(middle, 0.0F)), bits) << middle;
    EXPECT_EQ(to_float8(middle), bits + bits % 2) << middle;
    EXPECT_EQ(to_float8(-std::nextafter(middle, 1000.0F)), 0x80 | (bits + 1)) << middle;
  }
}

TEST(Float8, HasNoInfinities) {
  EXPECT_EQ(to_float8(1e6F), 0x7E);
  EXPECT_EQ(to_float8(-std::numeric_limits<float>::infinity()), 0xFE);
  EXPECT_TRUE(std::isnan(float8_to_float(to_float8(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace freshet::kernels
