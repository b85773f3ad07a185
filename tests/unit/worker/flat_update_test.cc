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

State step(unsigned threads, bool round) {
  ThreadPool pool(threads);
  State state;
  auto gradient = values("gradient");
  std::vector<double> sums((kCount + kernels::kBlock - 1) / kernels::kBlock);
  block_sums_of_squares(kCount, gradient.data(), sums.data(), &pool);
  state.norm = norm_of(sums);
  kernels::AdamWStep adamw;
  adamw.gradient_scale = clipping_factor(state.norm, 1);
  kernels::set_corrections(1, &adamw);
  update_weights(adamw, kCount, gradient.data(), state.w.data(), state.m.data(), state.v.data(),
                 round ? state.rounded.data() : nullptr, &pool);
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

TEST(FlatUpdate, ClipsOnlyWhatIsTooLong) {
  EXPECT_EQ(clipping_factor(4, 1), 0.25F);
  EXPECT_EQ(clipping_factor(0.5, 1), 1);
  EXPECT_EQ(clipping_factor(4, 0), 1);
}

}  // namespace
}  // namespace freshet::worker
