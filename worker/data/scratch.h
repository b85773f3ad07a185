// Memory for columns of any length: up to a bound from the heap, beyond it from files without a name that are mapped,
// so that the kernel can write them out when it needs the memory for something else. Any thread; it outlives, by shared
// ownership, what was allocated from it.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace freshet::worker {

class Scratch {
 public:
  // Files lie in `directory`, which must exist when the bound is passed.
  Scratch(size_t heap_bytes_max, std::filesystem::path directory)
      : heap_bytes_max_(heap_bytes_max), directory_(std::move(directory)) {}

  // Throws std::bad_alloc, or std::system_error naming the directory when a file can't be had there.
  void* allocate(size_t bytes);
  void release(void* memory, size_t bytes);

 private:
  void* map(size_t bytes);

  const size_t heap_bytes_max_;
  const std::filesystem::path directory_;
  std::atomic<size_t> heap_bytes_ = 0;
  std::mutex mutex_;
  std::set<void*> mapped_;
};

// For std::vector; made without a Scratch it is the heap. Elements that are given no value have none.
template <class T>
class ScratchAllocator {
 public:
  using value_type = T;
  using propagate_on_container_copy_assignment = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  ScratchAllocator() = default;
  explicit ScratchAllocator(std::shared_ptr<Scratch> scratch) : scratch_(std::move(scratch)) {}
  template <class U>
  ScratchAllocator(const ScratchAllocator<U>& other) : scratch_(other.scratch()) {}  // NOLINT: as containers need it

  T* allocate(size_t count) {
    if (scratch_ == nullptr) return std::allocator<T>().allocate(count);
    return static_cast<T*>(scratch_->allocate(count * sizeof(T)));
  }
  void deallocate(T* memory, size_t count) {
    if (scratch_ == nullptr) return std::allocator<T>().deallocate(memory, count);
    scratch_->release(memory, count * sizeof(T));
  }
  template <class U, class... Arguments>
  void construct(U* at, Arguments&&... arguments) {
    if constexpr (sizeof...(Arguments) == 0) {
      ::new (static_cast<void*>(at)) U;
    } else {
      ::new (static_cast<void*>(at)) U(std::forward<Arguments>(arguments)...);
    }
  }

  const std::shared_ptr<Scratch>& scratch() const { return scratch_; }
  bool operator==(const ScratchAllocator& other) const { return scratch_ == other.scratch_; }

 private:
  std::shared_ptr<Scratch> scratch_;
};

template <class T>
using ScratchVector = std::vector<T, ScratchAllocator<T>>;

}  // namespace freshet::worker
