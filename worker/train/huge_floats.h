// A large array of floats that is read at random places: on huge pages where the system has them, so that an access
// does not also miss the translation of its address, and aligned so that a row of 16 lies in one line. Zero at first.
// Owns its memory; moves, does not copy.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace freshet::worker {

class HugeFloats {
 public:
  HugeFloats() = default;
  explicit HugeFloats(size_t count);

  float* data() { return memory_.get(); }
  const float* data() const { return memory_.get(); }
  size_t size() const { return count_; }
  std::span<float> span() { return {data(), count_}; }

 private:
  struct Free {
    void operator()(float* memory) const;
  };
  std::unique_ptr<float, Free> memory_;
  size_t count_ = 0;
};

}  // namespace freshet::worker
