#include "base/random.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <set>

namespace freshet {
namespace {

using Block = std::array<uint32_t, 4>;

// The known answers that the authors of Philox publish for 4x32 with ten rounds. Our counter is the low two words of
// theirs, our stream the high two, our seed the key.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(Philox(0, 0).block(0), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(UINT64_MAX, UINT64_MAX).block(UINT64_MAX), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox(0x299f31d0a4093822, 0x0370734413198a2e).block(0x85a308d3243f6a88),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, BitsAndUniformComeFromTheBlock) {
  Philox philox(0, 0);
  EXPECT_EQ(philox.bits(0), 0xe169c58d6627e8d5U);
  EXPECT_EQ(philox.uniform(0), static_cast<double>(0xe169c58d6627e8d5U >> 11) / 9007199254740992.0);
}

TEST(Philox, UniformLiesInTheUnitInterval) {
  Philox philox(17, 3);
  double sum = 0;
  for (uint64_t i = 0; i < 100'000; ++i) {
    double value = philox.uniform(i);
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);  // five standard errors: 5 * sqrt(1/12/100000)
}

TEST(Philox, BelowIsEvenlySpread) {
  Philox philox(17, 4);
  std::array<int, 7> counts{};
  for (uint64_t i = 0; i < 70'000; ++i) {
    uint64_t value = philox.below(i, 7);
    ASSERT_LT(value, 7U);
    ++counts[value];
  }
  for (int count : counts) EXPECT_NEAR(count, 10'000, 470);  // five standard deviations: 5 * sqrt(70000 * 6 / 49)
  EXPECT_EQ(philox.below(5, 1), 0U);
  EXPECT_LT(philox.below(5, UINT64_MAX), UINT64_MAX);
}

TEST(Philox, SeedsStreamsAndCountersAreIndependent) {
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 10; ++i) {
    seen.insert(Philox(i, 0).bits(0));
    seen.insert(Philox(0, i + 1).bits(0));
    seen.insert(Philox(0, 0).bits(i + 1));
  }
  EXPECT_EQ(seen.size(), 30U);
}

TEST(Philox, StreamsHaveStableNumbers) {
  // The first eight bytes of SHA-256("abc") = ba7816bf8f01cfea..., little endian.
  EXPECT_EQ(stream_of("abc"), 0xeacf018fbf1678baU);
}

TEST(Random, ASeededSequenceRepeats) {
  SeededRandom a(5), b(5), c(6);
  EXPECT_EQ(new_id(a), new_id(b));
  EXPECT_EQ(new_id(a), new_id(b));
  EXPECT_NE(new_id(a), new_id(c));
}

TEST(Random, IdsAreThirtyTwoHexDigitsInTheOrderDrawn) {
  SeededRandom ids(9), words(9);
  char expected[33];
  uint64_t first = words.next();
  std::snprintf(expected, sizeof expected, "%016llx%016llx", static_cast<unsigned long long>(first),
                static_cast<unsigned long long>(words.next()));
  EXPECT_EQ(new_id(ids), expected);
  SystemRandom system;
  std::string id = new_id(system);
  EXPECT_EQ(id.size(), 32U);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(id, new_id(system));
}

}  // namespace
}  // namespace freshet
