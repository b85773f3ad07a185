// Memory that ends at a page which nothing may touch, so that an access behind it ends the process; full of NaN at
// first. Its end is rounded up to 16 bytes. Move only.
#pragma once

#include <cstddef>
#include <utility>

namespace freshet::cuda::emulated {

class GuardedMemory {
 public:
  GuardedMemory() = default;
  // `alignment`: of the beginning; what it leaves at the end is filled, too, but not guarded.
  GuardedMemory(size_t bytes, size_t alignment);
  GuardedMemory(GuardedMemory&& other) noexcept { swap(other); }
  GuardedMemory& operator=(GuardedMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~GuardedMemory();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void poison();

 private:
  void swap(GuardedMemory& other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace freshet::cuda::emulated
