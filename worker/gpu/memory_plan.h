// Where buffers lie in one piece of memory when it is known beforehand in which phases of some work each is needed:
// those that no phase needs together may share a place. Offsets are functions of what was added, in its order. Plain
// computation, without a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace freshet::worker {

class MemoryPlan {
 public:
  // Bit p: phase p.
  using Phases = uint32_t;
  static constexpr Phases in(unsigned phase) { return Phases{1} << phase; }
  static constexpr Phases from_to(unsigned first, unsigned last) { return (in(last) << 1) - in(first); }

  // Every buffer begins on such a border, in bytes.
  static constexpr size_t kBorder = 256;

  // *offset is written by place(), and must stay where it is until then.
  void add(size_t bytes, Phases phases, size_t* offset);
  // The bytes of all. The largest are placed first, each as low as those before it allow.
  size_t place();
  // The most that a phase needs: no plan can do with less.
  size_t bytes_least() const;

 private:
  struct Buffer {
    size_t bytes = 0;
    Phases phases = 0;
    size_t* offset = nullptr;
  };
  std::vector<Buffer> buffers_;
};

}  // namespace freshet::worker
