#include "worker/gpu/host_copy.h"

#include <algorithm>
#include <span>

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::worker {
namespace {

using HostCopyTest = cuda::CudaTest;

// Each copy is of what was queued before it, whatever is queued behind what it holds back.
TEST_F(HostCopyTest, IsOfItsMomentInMemoryOfEitherKind) {
  for (size_t pinned_bytes_max : {size_t{0}, size_t{1} << 20}) {
    auto memory = cuda::DeviceMemory::allocate(1000 * sizeof(float)), more = cuda::DeviceMemory::allocate(68);
    ASSERT_TRUE(memory.is_ok() && more.is_ok());
    auto made = HostCopy::create(memory->bytes() + more->bytes(), pinned_bytes_max);
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    HostCopy& copy = **made;
    EXPECT_EQ(copy.is_pinned(), pinned_bytes_max > 0);
    for (uint8_t value : {7, 9}) {
      EXPECT_OK(cuda::fill_bytes(memory->data(), value, memory->bytes(), stream()));
      EXPECT_OK(cuda::fill_bytes(more->data(), value, more->bytes(), stream()));
      EXPECT_OK(copy.begin(*memory, {more->data(), more->bytes()}, *stream_));
      EXPECT_OK(copy.hold_back(&*stream_));
      EXPECT_OK(cuda::fill_bytes(memory->data(), 0, memory->bytes(), stream()));
      EXPECT_OK(cuda::fill_bytes(more->data(), 0, more->bytes(), stream()));
      EXPECT_OK(stream_->synchronize());
      EXPECT_OK(copy.wait());
      const auto bytes = std::as_bytes(std::span(copy.data(), 1000 + 68 / sizeof(float)));
      EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == std::byte{value}; }));
    }
  }
}

}  // namespace
}  // namespace freshet::worker
