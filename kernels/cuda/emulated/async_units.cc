#include "kernels/cuda/emulated/async_units.h"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/random.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/emulated/tensor_maps.h"
#include "kernels/float8.h"

namespace freshet::cuda::emulated {
namespace {

constexpr unsigned kInner = 32;  // bytes of the inner dimension that one product takes

struct Operand {
  uint64_t descriptor;
  bool is_mn_major;
};

// A product that was issued: one thread's part of it.
struct Issued {
  WarpgroupProduct product;
  std::array<std::array<float, kInner>, 2> a_rows;  // when they came from registers
  std::vector<float> sums;                          // when it was done at once: what it adds
  bool ends_group = false;
};

struct Thread {
  std::vector<Issued> products;
  std::map<float*, std::vector<float>> sums;  // accumulators of products under way
  std::vector<std::vector<std::function<void()>>> stores{1};
  bool is_fenced = false;
};

// Of the block that runs on this operating-system thread.
struct Units {
  std::map<uint64_t*, std::vector<std::function<void()>>> loads;
  std::map<unsigned, Thread> threads;
};
thread_local std::unique_ptr<Units> block_units;
thread_local uint64_t drawn = 0;

bool draws_late() {
  static const Philox random(1, stream_of("lateness of emulated copies and products"));
  return random.below(drawn++, 2) == 1;
}

Status check_all_done() {
  const auto units = std::move(block_units);
  for (const auto& [barrier, loads] : units->loads) {
    if (!loads.empty()) return internal("a tile that was loaded was never waited for");
  }
  for (const auto& [number, thread] : units->threads) {
    if (!thread.products.empty()) return internal("a warpgroup's product was never waited for");
    for (const auto& group : thread.stores) {
      if (!group.empty()) return internal("a tile that was stored was never waited for");
    }
  }
  return Status::ok();
}

Units& units() {
  if (!block_units) {
    block_units = std::make_unique<Units>();
    at_block_end(check_all_done);
  }
  return *block_units;
}

Thread& own() { return units().threads[thread_number()]; }

std::byte* at_address(unsigned address) { return shared_memory() + address; }

unsigned swizzled(unsigned address) { return address ^ (address >> 7 & 7) << 4; }

// Tells the scheduler that something happened that others may wait for.
void note_progress() {
  wait_until("nothing", [] { return true; });
}

// The word of a barrier. Bit 63 is 0, which poisoned memory is not.
struct Phase {
  unsigned arrivals, missing, parity;
  int bytes;

  static Phase of(const uint64_t* barrier) {
    CHECK_MSG(*barrier >> 63 == 0, "a barrier that was not initialised");
    return {static_cast<unsigned>(*barrier & 0xFFFFF), static_cast<unsigned>(*barrier >> 20 & 0xFFFFF),
            static_cast<unsigned>(*barrier >> 40 & 1), static_cast<int>(*barrier >> 41 & 0x3FFFFF) - kByteBias};
  }
  // Goes on to the next phase when nothing is missing.
  void put(uint64_t* barrier) {
    if (missing == 0 && bytes == 0) {
      missing = arrivals;
      parity ^= 1;
    }
    *barrier = uint64_t{arrivals} | uint64_t{missing} << 20 | uint64_t{parity} << 40 |
               static_cast<uint64_t>(bytes + kByteBias) << 41;
  }
  static constexpr int kByteBias = 1 << 21;
};

void check_tile(const void* shared, const TensorMapShape& map, unsigned rank) {
  CHECK_MSG(map.rank == rank, "a tensor map of another rank");
  CHECK_MSG(shared_address(shared) % (map.is_swizzled ? 1024 : 128) == 0, "a tile that is not on its border");
}

// Calls back with each row of the tile: where it lies in shared memory, in the array (null when it is outside), how
// many bytes of it are inside, and how many it has.
template <class Row>
void for_rows(const TensorMapShape& map, const std::array<int, kTensorRankMax>& at, unsigned tile, Row row) {
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
      row(at_address(map.is_swizzled ? swizzled(address) : address),
          is_inside ? data + static_cast<uint64_t>(index) * size : nullptr, size);
    }
  }
}

float element(bool is_float8, const std::byte* from) {
  if (is_float8) return kernels::float8_to_float(static_cast<kernels::Float8>(*from));
  kernels::Bfloat16 value;
  std::memcpy(&value, from, sizeof(value));
  return kernels::to_float(value);
}

// Element (index, k) of an operand in shared memory, whose first dimension is M or N.
float described(const Operand& operand, bool is_float8, unsigned index, unsigned k) {
  const auto field = [&](unsigned bit) { return static_cast<unsigned>(operand.descriptor >> bit & 0x3FFF) << 4; };
  const unsigned size = is_float8 ? 1 : 2, leading = field(16), stride = field(32);
  const unsigned offset = operand.is_mn_major ? index % 64 * size + index / 64 * leading + k % 8 * 128 + k / 8 * stride
                                              : index % 8 * 128 + index / 8 * stride + k * size;
  return element(is_float8, at_address(swizzled(field(0) + offset)));
}

void check_descriptor(const Operand& operand) {
  CHECK_MSG(operand.descriptor >> 62 == 1, "a matrix descriptor without the 128-byte swizzle");
  CHECK_MSG((operand.descriptor >> 49 & 7) == 0, "a matrix descriptor with a base offset");
}

std::array<unsigned, 2> own_rows() {
  const unsigned number = thread_number() % 128, row = number / 32 * 16 + number % 32 / 4;
  return {row, row + 8};
}

// What the product adds to the thread's sums.
std::vector<float> multiplied(const Issued& issued) {
  const WarpgroupProduct& product = issued.product;
  const unsigned inner = product.is_float8 ? kInner : kInner / 2;
  auto a_rows = issued.a_rows;
  if (!product.a_registers) {
    for (unsigned r = 0; r < 2; ++r) {
      for (unsigned k = 0; k < inner; ++k) {
        a_rows[r][k] = described({product.a, product.a_mn_major}, product.is_float8, own_rows()[r], k);
      }
    }
  }
  std::vector<float> sums(product.n / 2);
  for (unsigned column = 0; column < product.n / 4; ++column) {
    const unsigned n = column / 2 * 8 + thread_number() % 4 * 2 + column % 2;
    std::array<float, kInner> b{};
    for (unsigned k = 0; k < inner; ++k) b[k] = described({product.b, product.b_mn_major}, product.is_float8, n, k);
    for (unsigned r = 0; r < 2; ++r) {
      float sum = 0;
      for (unsigned k = 0; k < inner; ++k) sum += a_rows[r][k] * b[k];
      sums[column / 2 * 4 + r * 2 + column % 2] = sum;
    }
  }
  return sums;
}

// The two rows of A that four neighbouring lanes hold in their registers.
std::array<std::array<float, kInner>, 2> gathered(const unsigned (&registers)[4], bool is_float8) {
  CHECK_MSG(!is_float8, "8-bit operands in registers");
  std::array<std::array<float, kInner>, 2> rows{};
  const unsigned first_lane = thread_number() % 32 / 4 * 4;
  for (unsigned lane = 0; lane < 4; ++lane) {
    for (unsigned half = 0; half < 2; ++half) {
      const uint64_t own_pair = uint64_t{registers[half * 2]} | uint64_t{registers[half * 2 + 1]} << 32;
      const uint64_t pair = exchange(0xFFFFFFFFU, own_pair, first_lane + lane);
      for (unsigned r = 0; r < 2; ++r) {
        const auto bits = static_cast<unsigned>(pair >> 32 * r);
        rows[r][half * 8 + lane * 2] = std::bit_cast<float>(bits << 16);
        rows[r][half * 8 + lane * 2 + 1] = std::bit_cast<float>(bits & 0xFFFF0000U);
      }
    }
  }
  return rows;
}

void finish(Thread* thread, const Issued& issued) {
  const auto added = issued.sums.empty() ? multiplied(issued) : issued.sums;
  auto& sums = thread->sums.at(issued.product.sums);
  for (size_t i = 0; i < added.size(); ++i) sums[i] = issued.product.accumulate ? sums[i] + added[i] : added[i];
}

}  // namespace

unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(static_cast<const std::byte*>(shared) - shared_memory());
}

void init_barrier(uint64_t* barrier, unsigned arrivals) {
  CHECK_MSG(shared_address(barrier) % 8 == 0, "a barrier that is not on a border of 8 bytes");
  CHECK_MSG(arrivals > 0, "a barrier that waits for nobody");
  Phase{arrivals, arrivals, 0, 0}.put(barrier);
}

void arrive_and_expect(uint64_t* barrier, unsigned bytes) {
  Phase phase = Phase::of(barrier);
  phase.bytes += static_cast<int>(bytes);
  CHECK_MSG(phase.missing > 0, "more arrivals than a barrier waits for");
  --phase.missing;
  phase.put(barrier);
  note_progress();
}

void wait_for_phase(uint64_t* barrier, unsigned parity) {
  wait_until("a barrier in shared memory", [&] {
    for (const auto& load : std::exchange(units().loads[barrier], {})) load();
    return Phase::of(barrier).parity != (parity & 1);
  });
}

void load_tile(void* to, const TensorMap& map, uint64_t* barrier, const int* at, unsigned rank) {
  const TensorMapShape shape = shape_of(map);
  check_tile(to, shape, rank);
  std::array<int, kTensorRankMax> from{};
  std::copy(at, at + rank, from.begin());
  auto load = [shape, from, tile = shared_address(to)] {
    for_rows(shape, from, tile, [](std::byte* shared, const std::byte* data, unsigned bytes) {
      data ? std::memcpy(shared, data, bytes) : std::memset(shared, 0, bytes);
    });
  };
  auto complete = [barrier, bytes = static_cast<int>(tile_bytes(shape))] {
    Phase phase = Phase::of(barrier);
    phase.bytes -= bytes;
    phase.put(barrier);
  };
  if (draws_late()) {
    units().loads[barrier].push_back([load, complete] {
      load();
      complete();
    });
  } else {
    load();
    units().loads[barrier].push_back(complete);
  }
}

void store_tile(const TensorMap& map, const int* at, unsigned rank, const void* from) {
  const TensorMapShape shape = shape_of(map);
  check_tile(from, shape, rank);
  std::array<int, kTensorRankMax> to{};
  std::copy(at, at + rank, to.begin());
  auto store = [shape, to, tile = shared_address(from)] {
    for_rows(shape, to, tile, [](const std::byte* shared, std::byte* data, unsigned bytes) {
      if (data) std::memcpy(data, shared, bytes);
    });
  };
  if (draws_late()) {
    own().stores.back().push_back(store);
  } else {
    store();
    own().stores.back().push_back([] {});
  }
}

void commit_stores() { own().stores.emplace_back(); }

void wait_for_stores(unsigned groups_left) {
  auto& groups = own().stores;
  while (groups.size() > size_t{groups_left} + 1) {
    for (const auto& store : groups.front()) store();
    groups.erase(groups.begin());
  }
}

void fence_products() { own().is_fenced = true; }

void multiply_async(const WarpgroupProduct& product) {
  Thread& thread = own();
  CHECK_MSG(thread.is_fenced, "a warpgroup's product without a fence behind the last wait");
  if (!product.a_registers) check_descriptor({product.a, product.a_mn_major});
  check_descriptor({product.b, product.b_mn_major});
  // All lanes issue it together.
  sync_warp(0xFFFFFFFFU);
  Issued issued{product, {}, {}, false};
  if (product.a_registers) {
    const unsigned* from = product.a_registers;
    issued.a_rows = gathered({from[0], from[1], from[2], from[3]}, product.is_float8);
  }
  if (!draws_late()) issued.sums = multiplied(issued);
  if (!thread.sums.contains(product.sums)) {
    thread.sums.emplace(product.sums, std::vector<float>(product.sums, product.sums + product.n / 2));
    std::memset(product.sums, 0xFF, product.n / 2 * sizeof(float));
  }
  thread.products.push_back(std::move(issued));
}

void commit_products() {
  auto& products = own().products;
  if (!products.empty()) products.back().ends_group = true;
}

void wait_for_products(unsigned groups_left) {
  Thread& thread = own();
  auto& products = thread.products;
  size_t groups = 0;
  for (const Issued& issued : products) groups += issued.ends_group ? 1 : 0;
  while (groups > groups_left) {
    finish(&thread, products.front());
    groups -= products.front().ends_group ? 1 : 0;
    products.erase(products.begin());
  }
  for (auto sums = thread.sums.begin(); sums != thread.sums.end();) {
    const bool is_awaited = std::any_of(products.begin(), products.end(),
                                        [&](const Issued& issued) { return issued.product.sums == sums->first; });
    if (!is_awaited) std::copy(sums->second.begin(), sums->second.end(), sums->first);
    sums = is_awaited ? std::next(sums) : thread.sums.erase(sums);
  }
  thread.is_fenced = false;
  sync_warp(0xFFFFFFFFU);  // a warp waits as a whole
}

}  // namespace freshet::cuda::emulated
