#include "worker/train/huge_floats.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace freshet::worker {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLine = 64;

}  // namespace

HugeFloats::HugeFloats(size_t count) : count_(count) {
  const size_t alignment = count * sizeof(float) < kHugePage ? kLine : kHugePage;
  const size_t bytes = (count * sizeof(float) + alignment - 1) / alignment * alignment;
  if (bytes == 0) return;
  memory_.reset(static_cast<float*>(std::aligned_alloc(alignment, bytes)));
  if (!memory_) throw std::bad_alloc();
  // Only a hint: small pages do, too.
  if (alignment == kHugePage) madvise(memory_.get(), bytes, MADV_HUGEPAGE);
  std::memset(memory_.get(), 0, bytes);
}

void HugeFloats::Free::operator()(float* memory) const { std::free(memory); }

}  // namespace freshet::worker
