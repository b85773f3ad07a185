#include "worker/gpu/memory_plan.h"

#include <algorithm>

namespace freshet::worker {

void MemoryPlan::add(size_t bytes, Phases phases, size_t* offset) {
  buffers_.push_back({(bytes + kBorder - 1) / kBorder * kBorder, phases, offset});
}

size_t MemoryPlan::place() {
  std::vector<const Buffer*> placed;
  for (const auto& buffer : buffers_) placed.push_back(&buffer);
  std::stable_sort(placed.begin(), placed.end(), [](const Buffer* a, const Buffer* b) { return a->bytes > b->bytes; });
  size_t end = 0;
  for (size_t i = 0; i < placed.size(); ++i) {
    const Buffer& buffer = *placed[i];
    std::vector<const Buffer*> beside;
    for (size_t j = 0; j < i; ++j) {
      if ((placed[j]->phases & buffer.phases) != 0) beside.push_back(placed[j]);
    }
    std::sort(beside.begin(), beside.end(), [](const Buffer* a, const Buffer* b) { return *a->offset < *b->offset; });
    size_t offset = 0;
    for (const Buffer* other : beside) {
      if (offset + buffer.bytes <= *other->offset) break;
      offset = std::max(offset, *other->offset + other->bytes);
    }
    *buffer.offset = offset;
    end = std::max(end, offset + buffer.bytes);
  }
  return end;
}

size_t MemoryPlan::bytes_least() const {
  size_t most = 0;
  for (unsigned phase = 0; phase < 32; ++phase) {
    size_t sum = 0;
    for (const auto& buffer : buffers_) sum += (buffer.phases & in(phase)) != 0 ? buffer.bytes : 0;
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace freshet::worker
