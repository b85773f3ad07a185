#include "kernels/dropout.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

TEST(Dropout, HasTheBitsOfTheReferenceWhereverItStarts) {
  Dropout d{0.3F, 0x123456789ABCDEF0, 0xFEDCBA9876543210};
  for (size_t count : {1, 3, 4, 63, 64, 65, 1000}) {
    for (uint64_t first : {uint64_t{0}, uint64_t{4}, uint64_t{100}, (uint64_t{1} << 34) - 64}) {
      auto x = random_values(count, "x"), expected = x;
      dropout(d, first, count, x.data());
      ref::dropout(d, first, count, expected.data());
      expect_same_bits(x, expected);
    }
  }
}

TEST(Dropout, GivesTheSameBitsForAnySplit) {
  Dropout d{0.5F, 7, 8};
  auto whole = random_values(1000, "x"), split = whole;
  dropout(d, 0, 1000, whole.data());
  for (size_t from = 0; from < 1000;) {
    size_t part = std::min<size_t>(1000 - from, 4 + 4 * (from % 11));
    dropout(d, from, part, split.data() + from);
    from += part;
  }
  expect_same_bits(split, whole);
}

TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  std::vector<float> x(100'000, 1), other(x);
  dropout({0.2F, 1, 2}, 0, x.size(), x.data());
  dropout({0.2F, 1, 3}, 0, other.size(), other.data());
  size_t dropped = 0, both = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    dropped += x[i] == 0;
    both += x[i] == 0 && other[i] == 0;
    EXPECT_TRUE(x[i] == 0 || x[i] == 1.25F) << x[i];
  }
  // Five standard deviations of a binomial: 5 sqrt(100000 * 0.2 * 0.8) = 632; of the other stream's: 5 * 62.
  EXPECT_NEAR(static_cast<double>(dropped), 20'000, 632);
  EXPECT_NEAR(static_cast<double>(both), 4'000, 310);
}

TEST(Dropout, NothingWithoutAProbability) {
  auto x = random_values(10, "x"), before = x;
  dropout({}, 0, 10, x.data());
  expect_same_bits(x, before);
}

}  // namespace
}  // namespace freshet::kernels
