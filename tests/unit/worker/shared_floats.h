// Floats that forked ranks and their parent share, to bring results out of a local gang. Tests only.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace freshet::worker {

class SharedFloats {
 public:
  explicit SharedFloats(size_t count) : count_(count) {
    void* memory = mmap(nullptr, count * sizeof(float), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    data_ = static_cast<float*>(memory);
  }
  ~SharedFloats() { munmap(data_, count_ * sizeof(float)); }
  SharedFloats(const SharedFloats&) = delete;
  SharedFloats& operator=(const SharedFloats&) = delete;

  float* data() { return data_; }
  void clear() { std::fill(data_, data_ + count_, -7.0F); }
  std::vector<float> values() const { return {data_, data_ + count_}; }

 private:
  size_t count_;
  float* data_ = nullptr;
};

}  // namespace freshet::worker
