#include "base/metric_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/file.h"

namespace freshet {
namespace {
constexpr uint64_t kMagic = 0x31474E4952534846;  // "FHSRING1"
}

struct MetricRing::Header {
  uint64_t magic;
  uint64_t capacity;
  alignas(64) std::atomic<uint64_t> written;  // points ever pushed
};

// `sequence` is a sequence lock: odd while the writer is inside, 2 * (number of the point + 1) when it is whole.
struct MetricRing::Slot {
  std::atomic<uint64_t> sequence;
  MetricPoint point;
};

MetricRing::MetricRing(void* mapping, size_t size) : mapping_(mapping), size_(size) {}
MetricRing::MetricRing(MetricRing&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)), size_(std::exchange(other.size_, 0)) {}
MetricRing& MetricRing::operator=(MetricRing&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(size_, other.size_);
  return *this;
}
MetricRing::~MetricRing() {
  if (mapping_ != nullptr) ::munmap(mapping_, size_);
}

Result<MetricRing> MetricRing::create(const std::filesystem::path& path, uint32_t capacity) {
  CHECK(std::has_single_bit(capacity));
  size_t size = sizeof(Header) + sizeof(Slot) * capacity;
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.is_open()) return errno_status("create " + path.string(), errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return errno_status("truncate " + path.string(), errno);
  void* mapping = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (mapping == MAP_FAILED) return errno_status("map " + path.string(), errno);
  auto* header = static_cast<Header*>(mapping);
  header->capacity = capacity;
  header->written.store(0, std::memory_order_relaxed);
  header->magic = kMagic;
  return MetricRing(mapping, size);
}

Result<MetricRing> MetricRing::open(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return errno_status("stat " + path.string(), errno);
  size_t size = static_cast<size_t>(info.st_size);
  if (size < sizeof(Header)) return corrupt(path.string() + ": not a metric ring (too short)");
  void* mapping = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (mapping == MAP_FAILED) return errno_status("map " + path.string(), errno);
  MetricRing ring(mapping, size);
  const auto* header = static_cast<const Header*>(mapping);
  if (header->magic != kMagic || !std::has_single_bit(header->capacity) ||
      size != sizeof(Header) + sizeof(Slot) * header->capacity) {
    return corrupt(path.string() + ": not a metric ring");
  }
  return ring;
}

void MetricRing::push(std::string_view name, double value, int64_t step, int64_t time_us) {
  auto* header = static_cast<Header*>(mapping_);
  auto* slots = reinterpret_cast<Slot*>(static_cast<char*>(mapping_) + sizeof(Header));
  uint64_t number = header->written.load(std::memory_order_relaxed);
  Slot& slot = slots[number & (header->capacity - 1)];
  slot.sequence.store(2 * number + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  size_t length = std::min(name.size(), sizeof(slot.point.name) - 1);
  std::memcpy(slot.point.name, name.data(), length);
  std::memset(slot.point.name + length, 0, sizeof(slot.point.name) - length);
  slot.point.value = value;
  slot.point.step = step;
  slot.point.time_us = time_us;
  slot.sequence.store(2 * (number + 1), std::memory_order_release);
  header->written.store(number + 1, std::memory_order_release);
}

uint64_t MetricRing::drain(uint64_t* next, std::vector<MetricPoint>* out) const {
  const auto* header = static_cast<const Header*>(mapping_);
  const auto* slots = reinterpret_cast<const Slot*>(static_cast<const char*>(mapping_) + sizeof(Header));
  uint64_t written = header->written.load(std::memory_order_acquire);
  uint64_t lost = 0;
  if (written - *next > header->capacity) {
    lost = written - header->capacity - *next;
    *next = written - header->capacity;
  }
  for (; *next < written; ++*next) {
    const Slot& slot = slots[*next & (header->capacity - 1)];
    uint64_t expected = 2 * (*next + 1);
    if (slot.sequence.load(std::memory_order_acquire) != expected) {
      ++lost;
      continue;
    }
    MetricPoint copy = slot.point;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (slot.sequence.load(std::memory_order_relaxed) != expected) {
      ++lost;
      continue;
    }
    out->push_back(copy);
  }
  return lost;
}

}  // namespace freshet
