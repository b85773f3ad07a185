#include "worker/train/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "proto/recipe.pb.h"

namespace freshet::worker {
namespace {

Schedule schedule(v1::Schedule::Kind kind, uint32_t warmup_steps) {
  v1::Schedule wanted;
  wanted.set_kind(kind);
  wanted.set_warmup_steps(warmup_steps);
  return Schedule::of(wanted).value();
}

TEST(Schedule, IsOneWhenTheRecipeSaysNothing) {
  const auto constant = Schedule::of({}).value();
  for (uint64_t step : {1, 50, 100}) EXPECT_EQ(constant.factor(step, 100), 1);
}

TEST(Schedule, RisesInAStraightLineOverTheWarmUp) {
  for (auto kind : {v1::Schedule::CONSTANT, v1::Schedule::COSINE, v1::Schedule::WSD}) {
    const auto s = schedule(kind, 8);
    EXPECT_EQ(s.factor(1, 100), 0.125);
    EXPECT_EQ(s.factor(4, 100), 0.5);
    EXPECT_EQ(s.factor(8, 100), 1);
    EXPECT_GT(s.factor(9, 100), 0.99);
    EXPECT_EQ(s.factor(5, 5), 0.625);  // a training that ends within it
  }
}

TEST(Schedule, CosineIsHalfAWaveToATenth) {
  const auto s = schedule(v1::Schedule::COSINE, 20);
  for (uint64_t step = 21; step <= 120; ++step) {
    const double p = static_cast<double>(step - 20) / 100;
    EXPECT_NEAR(s.factor(step, 120), 0.1 + 0.9 * (1 + std::cos(std::numbers::pi * p)) / 2, 1e-15) << step;
  }
  EXPECT_NEAR(s.factor(70, 120), 0.55, 1e-15);
  EXPECT_NEAR(s.factor(120, 120), 0.1, 1e-15);
}

TEST(Schedule, StaysAndFallsOverTheLastFifth) {
  const auto s = schedule(v1::Schedule::WSD, 10);
  EXPECT_EQ(s.factor(11, 100), 1);
  EXPECT_EQ(s.factor(80, 100), 1);
  EXPECT_NEAR(s.factor(81, 100), 0.95, 1e-15);
  EXPECT_NEAR(s.factor(90, 100), 0.5, 1e-15);
  EXPECT_EQ(s.factor(100, 100), 0);
}

TEST(Schedule, FallsFromTheEndOfAWarmUpThatIsLong) {
  const auto s = schedule(v1::Schedule::WSD, 90);
  EXPECT_EQ(s.factor(90, 100), 1);
  EXPECT_NEAR(s.factor(95, 100), 0.5, 1e-15);
}

TEST(Schedule, TakesWhatTheRecipeSays) {
  v1::Schedule wanted;
  wanted.set_kind(v1::Schedule::COSINE);
  wanted.set_final_ratio(0);
  EXPECT_NEAR(Schedule::of(wanted)->factor(10, 10), 0, 1e-15);
  wanted.set_kind(v1::Schedule::WSD);
  wanted.set_final_ratio(0.5);
  wanted.set_decay_fraction(1);
  EXPECT_NEAR(Schedule::of(wanted)->factor(5, 10), 0.75, 1e-15);
  wanted.set_decay_fraction(1.5);
  EXPECT_THAT(Schedule::of(wanted).status().message(), testing::HasSubstr("decay_fraction is 1.5"));
}

}  // namespace
}  // namespace freshet::worker
