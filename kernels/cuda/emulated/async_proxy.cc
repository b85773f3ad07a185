#include "kernels/cuda/emulated/async_proxy.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "base/random.h"

namespace freshet::cuda::emulated {
namespace {

constexpr unsigned kRowBytes = 128;

struct Use {
  Access access;
  std::vector<Span> pieces;
  const char* what;
  Span bounds;
  std::vector<std::byte> bytes;  // what lies in the pieces, one after the other
};

struct Proxy {
  // Shared memory as it was fenced, which begins full of what GuardedMemory::poison() writes.
  std::vector<std::byte> visible = std::vector<std::byte>(shared_bytes(), std::byte{0xFF});
  std::map<uint64_t, Use> uses;
  uint64_t numbers = 0, fences = 0;

  static Status check_end() { return Status::ok(); }  // each unit says what was not waited for
};

Proxy& proxy() { return of_block<Proxy>(); }

std::vector<std::byte> bytes_of(const std::vector<Span>& pieces) {
  std::vector<std::byte> bytes;
  for (const Span& piece : pieces) {
    bytes.insert(bytes.end(), shared_memory() + piece.begin, shared_memory() + piece.end);
  }
  return bytes;
}

// Where shared memory differs from `expected(piece, offset in all of them)`: "" when nowhere.
template <class Expected>
std::string differing_rows(const Use& use, Expected expected) {
  unsigned first = UINT32_MAX, last = 0;
  size_t offset = 0;
  for (const Span& piece : use.pieces) {
    const size_t bytes = piece.end - piece.begin;
    const std::byte *found = shared_memory() + piece.begin, *wanted = expected(piece, offset);
    if (std::memcmp(found, wanted, bytes) != 0) {
      for (unsigned i = 0; i < bytes; ++i) {
        if (found[i] == wanted[i]) continue;
        first = std::min(first, piece.begin + i);
        last = std::max(last, piece.begin + i);
      }
    }
    offset += bytes;
  }
  if (first > last) return "";
  auto row = [&](unsigned address) { return std::to_string((address - use.bounds.begin) / kRowBytes); };
  return "rows " + row(first) + " to " + row(last) + " of 128 bytes from byte " + std::to_string(use.bounds.begin) +
         " of shared memory on";
}

}  // namespace

uint64_t begin_access(Access access, std::vector<Span> pieces, const char* what) {
  Proxy& seen = proxy();
  Use use{access, std::move(pieces), what, {UINT32_MAX, 0}, {}};
  for (const Span& piece : use.pieces) {
    use.bounds = {std::min(use.bounds.begin, piece.begin), std::max(use.bounds.end, piece.end)};
  }
  if (use.bounds.end > shared_bytes()) fail_kernel(std::string(what) + ": behind the end of shared memory");
  for (const auto& [number, other] : seen.uses) {
    if (access == Access::kRead && other.access == Access::kRead) continue;
    if (use.bounds.begin < other.bounds.end && other.bounds.begin < use.bounds.end) {
      fail_kernel(std::string(what) + " at byte " + std::to_string(use.bounds.begin) + " of shared memory meets " +
                  other.what + " at byte " + std::to_string(other.bounds.begin) + " that was not waited for");
    }
  }
  const auto rows = differing_rows(use, [&](const Span& piece, size_t) { return seen.visible.data() + piece.begin; });
  if (!rows.empty())
    fail_kernel(std::string(what) + ": threads wrote " + rows + ", and no fence_async_proxy() followed");
  use.bytes = bytes_of(use.pieces);
  seen.uses.emplace(++seen.numbers, std::move(use));
  return seen.numbers;
}

void note_written(uint64_t number) {
  Proxy& seen = proxy();
  Use& use = seen.uses.at(number);
  for (const Span& piece : use.pieces) {
    std::copy(shared_memory() + piece.begin, shared_memory() + piece.end, seen.visible.begin() + piece.begin);
  }
  use.bytes = bytes_of(use.pieces);
}

void check_access(uint64_t number) {
  const Use& use = proxy().uses.at(number);
  const auto rows = differing_rows(use, [&](const Span&, size_t offset) { return use.bytes.data() + offset; });
  if (!rows.empty()) fail_kernel(std::string(use.what) + ": threads wrote " + rows + " before it was waited for");
}

void end_access(uint64_t number) {
  check_access(number);
  proxy().uses.erase(number);
}

void fence_proxies() {
  Proxy& seen = proxy();
  ++seen.fences;
  std::copy(shared_memory(), shared_memory() + shared_bytes(), seen.visible.begin());
}

uint64_t fences_so_far() { return proxy().fences; }

bool draws_late() {
  static const Philox random(1, stream_of("lateness of emulated copies and products"));
  thread_local uint64_t drawn = 0;
  return random.below(drawn++, 2) == 1;
}

unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(static_cast<const std::byte*>(shared) - shared_memory());
}

}  // namespace freshet::cuda::emulated
