#include "kernels/cuda/emulated/guarded_memory.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

namespace freshet::cuda::emulated {
namespace {

constexpr size_t kPage = 4096;

}  // namespace

GuardedMemory::GuardedMemory(size_t bytes, size_t alignment) : bytes_(bytes) {
  CHECK(alignment <= kPage && kPage % alignment == 0);
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  const size_t body = (rounded + kPage - 1) / kPage * kPage;
  mapped_ = body + kPage;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(mapping_ != MAP_FAILED);
  CHECK(mprotect(static_cast<std::byte*>(mapping_) + body, kPage, PROT_NONE) == 0);
  data_ = static_cast<std::byte*>(mapping_) + body - rounded;
  poison();
}

GuardedMemory::~GuardedMemory() {
  if (mapping_) munmap(mapping_, mapped_);
}

void GuardedMemory::poison() {
  if (bytes_ > 0) std::memset(data_, 0xFF, bytes_);
}

}  // namespace freshet::cuda::emulated
