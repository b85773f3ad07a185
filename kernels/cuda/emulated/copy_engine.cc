#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "kernels/cuda/emulated/async_proxy.h"
#include "kernels/cuda/emulated/mbarriers.h"
#include "kernels/cuda/emulated/tensor_maps.h"

namespace freshet::cuda::emulated {
namespace {

using Groups = std::vector<std::vector<std::function<void()>>>;

struct Stores {
  std::map<unsigned, Groups> of_threads;  // the last group is open

  Status check_end() const {
    for (const auto& [thread, groups] : of_threads) {
      for (const auto& group : groups) {
        if (!group.empty()) return internal("a tile that was stored was never waited for");
      }
    }
    return Status::ok();
  }
};

Groups& own_stores() { return of_block<Stores>().of_threads.try_emplace(thread_number(), 1).first->second; }

Span check_tile(const void* shared, const TensorMapShape& map, unsigned rank) {
  if (map.rank != rank) fail_kernel("a tensor map of another rank");
  const unsigned address = shared_address(shared);
  if (address % (map.is_swizzled ? 1024 : 128) != 0) fail_kernel("a tile that is not on its border");
  return {address, address + tile_bytes(map)};
}

// Calls back with each element of the tile: where it lies in shared memory and in the array (null when it is outside),
// and its bytes.
template <class Element>
void for_elements(const TensorMapShape& map, const std::array<int, kTensorRankMax>& at, unsigned tile,
                  Element element) {
  const unsigned size = element_bytes(map.element), row_bytes = map.box[0] * size;
  const unsigned rows = tile_bytes(map) / row_bytes;
  for (unsigned number = 0; number < rows; ++number) {
    std::byte* data = static_cast<std::byte*>(map.data);
    unsigned rest = number;
    for (unsigned d = 1; d < map.rank; ++d) {
      const int64_t index = at[d] + static_cast<int64_t>(rest % map.box[d]);
      rest /= map.box[d];
      if (index < 0 || index >= static_cast<int64_t>(map.extents[d])) data = nullptr;
      if (data) data += static_cast<uint64_t>(index) * map.strides[d] * size;
    }
    for (unsigned i = 0; i < row_bytes; i += size) {
      const int64_t index = at[0] + static_cast<int64_t>(i / size);
      const bool is_inside = data && index >= 0 && index < static_cast<int64_t>(map.extents[0]);
      const unsigned address = tile + number * row_bytes + i;
      element(shared_memory() + (map.is_swizzled ? swizzled(address) : address),
              is_inside ? data + static_cast<uint64_t>(index) * size : nullptr, size);
    }
  }
}

}  // namespace

void load_tile(void* to, const TensorMap& map, uint64_t* barrier, const int* at, unsigned rank) {
  const TensorMapShape shape = shape_of(map);
  const Span tile = check_tile(to, shape, rank);
  std::array<int, kTensorRankMax> from{};
  std::copy(at, at + rank, from.begin());
  const uint64_t access = begin_access(Access::kWrite, {tile}, "a tile that is loaded");
  auto load = [shape, from, tile, access] {
    for_elements(shape, from, tile.begin, [](std::byte* shared, const std::byte* data, unsigned bytes) {
      data ? std::memcpy(shared, data, bytes) : std::memset(shared, 0, bytes);
    });
    note_written(access);
  };
  if (draws_late()) {
    std::memset(shared_memory() + tile.begin, 0xFF, tile.end - tile.begin);
    note_written(access);
    add_copy(barrier, tile_bytes(shape), [load, access] {
      check_access(access);
      load();
      end_access(access);
    });
  } else {
    load();
    add_copy(barrier, tile_bytes(shape), [access] { end_access(access); });
  }
}

void store_tile(const TensorMap& map, const int* at, unsigned rank, const void* from) {
  const TensorMapShape shape = shape_of(map);
  const Span tile = check_tile(from, shape, rank);
  std::array<int, kTensorRankMax> to{};
  std::copy(at, at + rank, to.begin());
  const uint64_t access = begin_access(Access::kRead, {tile}, "a tile that is stored");
  auto store = [shape, to, tile] {
    for_elements(shape, to, tile.begin, [](const std::byte* shared, std::byte* data, unsigned bytes) {
      if (data) std::memcpy(data, shared, bytes);
    });
  };
  const bool is_late = draws_late();
  if (!is_late) store();
  own_stores().back().push_back([store, is_late, access] {
    end_access(access);
    if (is_late) store();
  });
}

void commit_stores() { own_stores().emplace_back(); }

void wait_for_stores(unsigned groups_left) {
  Groups& groups = own_stores();
  while (groups.size() > size_t{groups_left} + 1) {
    for (const auto& store : groups.front()) store();
    groups.erase(groups.begin());
  }
}

}  // namespace freshet::cuda::emulated
