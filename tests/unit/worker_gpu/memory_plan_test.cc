#include "worker/gpu/memory_plan.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace freshet::worker {
namespace {

constexpr auto in = MemoryPlan::in;

TEST(MemoryPlan, SharesPlacesBetweenPhases) {
  MemoryPlan plan;
  size_t early = 1, late = 1, always = 1;
  plan.add(1000, in(0), &early);
  plan.add(600, in(1) | in(2), &late);
  plan.add(300, MemoryPlan::from_to(0, 2), &always);
  EXPECT_EQ(plan.place(), 1024U + 512);
  EXPECT_EQ(early, 0U);
  EXPECT_EQ(late, 0U);
  EXPECT_EQ(always, 1024U);
  EXPECT_EQ(plan.bytes_least(), 1024U + 512);
}

TEST(MemoryPlan, CountsPhasesToTheLast) {
  EXPECT_EQ(MemoryPlan::from_to(0, 31), UINT32_MAX);
  EXPECT_EQ(MemoryPlan::from_to(3, 3), in(3));
  EXPECT_EQ(MemoryPlan::from_to(1, 2), in(1) | in(2));
}

TEST(MemoryPlan, NeverOverlapsWhatIsNeededTogether) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Philox philox(seed, stream_of("memory plans"));
    struct Buffer {
      size_t bytes, offset;
      MemoryPlan::Phases phases;
    };
    std::vector<Buffer> buffers(1 + philox.below(0, 40));
    MemoryPlan plan;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto first = static_cast<unsigned>(philox.below(3 * i + 1, 17));
      const auto last = first + static_cast<unsigned>(philox.below(3 * i + 2, 17 - first));
      buffers[i] = {philox.below(3 * i + 3, 10000), SIZE_MAX, MemoryPlan::from_to(first, last)};
      plan.add(buffers[i].bytes, buffers[i].phases, &buffers[i].offset);
    }
    const size_t bytes = plan.place();
    EXPECT_GE(bytes, plan.bytes_least());
    for (const auto& a : buffers) {
      EXPECT_EQ(a.offset % MemoryPlan::kBorder, 0U);
      EXPECT_LE(a.offset + a.bytes, bytes);
      for (const auto& b : buffers) {
        if (&a == &b || (a.phases & b.phases) == 0) continue;
        EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace freshet::worker
