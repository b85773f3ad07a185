// A seed is a life that can be lived again, with its events told or not, and another seed is another life.
#include "tests/sim/life.h"

#include <gtest/gtest.h>

#include "base/log.h"

namespace freshet::sim {
namespace {

TEST(Life, ASeedIsTheSameLifeAgain) {
  set_log_level(LogLevel::kError);
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const LifeResult told = live(seed, true), again = live(seed, true), untold = live(seed, false);
    EXPECT_EQ(told.failure, "");
    EXPECT_EQ(told.log, again.log) << "seed " << seed;
    EXPECT_EQ(told.fingerprint, untold.fingerprint) << "seed " << seed;
    EXPECT_NE(told.fingerprint, live(seed + 1000, false).fingerprint);
    EXPECT_EQ(untold.log, "");
  }
}

}  // namespace
}  // namespace freshet::sim
