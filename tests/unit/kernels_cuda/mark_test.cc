#include "kernels/cuda/mark.h"

#include <atomic>

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using MarkCuda = CudaTest;

TEST_F(MarkCuda, TellsHowFarTheStreamIs) {
  auto memory = PinnedMemory::allocate(2 * sizeof(uint32_t));
  auto event = Event::create();
  ASSERT_TRUE(memory.is_ok() && event.is_ok());
  auto* words = memory->data<uint32_t>();
  words[0] = words[1] = 0;
  auto word = [&](size_t i) { return std::atomic_ref<uint32_t>(words[i]).load(); };
  EXPECT_OK(mark(7, &words[0], stream()));
  EXPECT_OK(event->record(stream()));
  EXPECT_OK(mark(8, &words[1], stream()));
  EXPECT_OK(event->synchronize());
  EXPECT_EQ(word(0), 7U);
  EXPECT_OK(mark(9, &words[0], stream()));
  expect_done();
  EXPECT_EQ(word(0), 9U);
  EXPECT_EQ(word(1), 8U);
}

}  // namespace
}  // namespace freshet::cuda
