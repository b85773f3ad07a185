#include "worker/data/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <system_error>

#include "base/file.h"

namespace freshet::worker {
namespace {

// Below this a mapping of its own costs more than it spares.
constexpr size_t kMappedBytesMin = 64 << 10;

[[noreturn]] void fail(int error, const std::filesystem::path& directory, size_t bytes) {
  throw std::system_error(error, std::generic_category(),
                          std::to_string(bytes >> 20) + " MiB of rows do not fit into " + directory.string());
}

}  // namespace

void* Scratch::allocate(size_t bytes) {
  const size_t before = heap_bytes_.fetch_add(bytes);
  if (before + bytes <= heap_bytes_max_ || bytes < kMappedBytesMin) return ::operator new(bytes);
  heap_bytes_.fetch_sub(bytes);
  return map(bytes);
}

void Scratch::release(void* memory, size_t bytes) {
  {
    std::lock_guard lock(mutex_);
    if (mapped_.erase(memory) > 0) {
      ::munmap(memory, bytes);
      return;
    }
  }
  heap_bytes_.fetch_sub(bytes);
  ::operator delete(memory);
}

void* Scratch::map(size_t bytes) {
  const Fd file(::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file.is_open()) fail(errno, directory_, bytes);
  // Reserved now: a disk that is full later would be a signal at some access.
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes))) fail(error, directory_, bytes);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) fail(errno, directory_, bytes);
  std::lock_guard lock(mutex_);
  mapped_.insert(memory);
  return memory;
}

}  // namespace freshet::worker
