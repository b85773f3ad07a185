#include "worker/train/flat_update.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "kernels/reduce.h"

namespace freshet::worker {
namespace {

constexpr size_t kCount = 200'003;  // several pieces, the last one short of a block

std::vector<float> values(const char* name) {
  Philox philox(2, stream_of(name));
  std::vector<float> values(kCount);
  for (size_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(philox.uniform(i) - 0.5);
  return values;
}

struct State {
  std::vector<float> w = values("w"), m = std::vector<float>(kCount), v = m;
  std::vector<uint16_t> rounded = std::vector<uint16_t>(kCount);
  double norm = 0;
  bool operator==(const State&) const = default;
};

// Of one matrix, unless a test says otherwise.
State step(unsigned threads, bool round, const std::vector<Range>& decayed = {{0, kCount}}, Range range = {0, kCount}) {
  ThreadPool pool(threads);
  State state;
  auto gradient = values("gradient");
  std::vector<double> sums((kCount + kernels::kBlock - 1) / kernels::kBlock);
  block_sums_of_squares(kCount, gradient.data(), sums.data(), &pool);
  state.norm = norm_of(sums);
  kernels::AdamWStep adamw;
  adamw.gradient_scale = clipping_factor(state.norm, 1);
  kernels::set_corrections(1, &adamw);
  adamw.weight_decay = 0.25F;
  update_weights(adamw,
                 {range, gradient.data() + range.begin, state.w.data() + range.begin, state.m.data() + range.begin,
                  state.v.data() + range.begin, round ? state.rounded.data() + range.begin : nullptr},
                 decayed, &pool);
  return state;
}

TEST(FlatUpdate, IsAdamWOfTheClippedGradient) {
  auto state = step(2, true);
  auto gradient = values("gradient");
  double squares = 0;
  for (float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
  EXPECT_NEAR(state.norm / std::sqrt(squares), 1, 1e-12);
  State expected;
  kernels::AdamWStep adamw;
  adamw.gradient_scale = static_cast<float>(1 / state.norm);
  adamw.weight_decay = 0.25F;
  kernels::set_corrections(1, &adamw);
  kernels::adamw(adamw, kCount, gradient.data(), expected.w.data(), expected.m.data(), expected.v.data());
  EXPECT_EQ(state.w, expected.w);
  EXPECT_EQ(state.m, expected.m);
  EXPECT_EQ(state.v, expected.v);
  for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(state.rounded[i], kernels::to_bfloat16(state.w[i])) << i;
}

TEST(FlatUpdate, GivesTheSameBitsOnAnyThreads) {
  for (bool round : {true, false}) {
    auto expected = step(1, round);
    for (unsigned threads : {2, 3, 4, 8}) EXPECT_EQ(step(threads, round), expected) << threads;
  }
}

// Whatever the borders of pieces, and of the segment that a rank owns.
TEST(FlatUpdate, DecaysMatricesAndNothingElse) {
  const std::vector<Range> decayed = decayed_ranges({{"norm", {7}, 90'000, 7},
                                                     {"first", {3, 5}, 10, 15},
                                                     {"second", {100, 700}, 20'000, 70'000},
                                                     {"b", {10}, 0, 10}});
  ASSERT_EQ(decayed.size(), 2u);
  const auto all = step(2, false), none = step(2, false, {}), some = step(2, false, decayed);
  const Range owned{64 * kernels::kBlock, 128 * kernels::kBlock};
  const auto part = step(2, true, decayed, owned);
  const auto start = values("w");
  for (size_t i = 0; i < kCount; ++i) {
    const bool decays = (i >= 10 && i < 25) || (i >= 20'000 && i < 90'000);
    ASSERT_EQ(some.w[i], decays ? all.w[i] : none.w[i]) << i;
    ASSERT_EQ(part.w[i], i >= owned.begin && i < owned.end ? some.w[i] : start[i]) << i;
  }
  EXPECT_NE(all.w, none.w);
}

TEST(FlatUpdate, ClipsOnlyWhatIsTooLong) {
  EXPECT_EQ(clipping_factor(4, 1), 0.25F);
  EXPECT_EQ(clipping_factor(0.5, 1), 1);
  EXPECT_EQ(clipping_factor(4, 0), 1);
}

}  // namespace
}  // namespace freshet::worker
