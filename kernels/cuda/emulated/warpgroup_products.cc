#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/cuda/emulated/async_proxy.h"
#include "kernels/float8.h"

namespace freshet::cuda::emulated {
namespace {

constexpr unsigned kInner = 32;  // bytes of the inner dimension that one product takes
constexpr unsigned kPiece = 16;  // bytes that lie beside each other in every layout
constexpr unsigned kWarpgroup = 128;

struct Operand {
  uint64_t descriptor;
  bool is_mn_major;
};

// A product that was issued: one thread's part of it.
struct Issued {
  WarpgroupProduct product;
  std::array<std::array<float, kInner>, 2> a_rows;  // when they came from registers
  std::array<unsigned, 4> a_registers;              // these as they were
  std::vector<float> sums;                          // when it was done at once: what it adds
  std::vector<uint64_t> accesses;                   // of the first lane: what its warp reads
  bool ends_group = false;
};

// Sums whose registers are full of NaN: until no product adds to them and the thread has called fence_registers().
struct Sums {
  std::vector<float> values;
  bool is_under_way = true;
};

struct Registers {
  const void *begin, *end;

  bool meets(const void* from, const void* to) const { return begin < to && from < end; }
};

struct Thread {
  std::vector<Issued> issued;
  std::map<float*, Sums> sums;
  std::vector<Registers> touched, fenced;  // by fence_registers(): since the last fence, and before it
  bool is_fenced = false;
  size_t count = 0;  // of products, ever
};

// What all lanes of all four warps must say alike.
using Signature = std::tuple<uint64_t, uint64_t, unsigned, bool, bool, bool, bool, bool>;

struct Products {
  std::map<unsigned, Thread> threads;
  std::map<unsigned, std::vector<Signature>> of_warpgroups;

  Status check_end() const {
    for (const auto& [number, thread] : threads) {
      if (!thread.issued.empty()) return internal("a warpgroup's product was never waited for");
      const auto whole = of_warpgroups.find(number / kWarpgroup);
      if (thread.count != (whole == of_warpgroups.end() ? 0 : whole->second.size())) {
        return internal("some warps of a warpgroup have issued a product without the others");
      }
    }
    return Status::ok();
  }
};

Products& products() { return of_block<Products>(); }
Thread& own() { return products().threads[thread_number()]; }

float element(bool is_float8, const std::byte* from) {
  if (is_float8) return kernels::float8_to_float(static_cast<kernels::Float8>(*from));
  kernels::Bfloat16 value;
  std::memcpy(&value, from, sizeof(value));
  return kernels::to_float(value);
}

// Where element (index, k) of an operand lies, whose first dimension is M or N.
unsigned address_of(const Operand& operand, unsigned size, unsigned index, unsigned k) {
  const auto field = [&](unsigned bit) { return static_cast<unsigned>(operand.descriptor >> bit & 0x3FFF) << 4; };
  const unsigned leading = field(16), stride = field(32);
  const unsigned offset = operand.is_mn_major ? index % 64 * size + index / 64 * leading + k % 8 * 128 + k / 8 * stride
                                              : index % 8 * 128 + index / 8 * stride + k * size;
  return swizzled(field(0) + offset);
}

float described(const Operand& operand, bool is_float8, unsigned index, unsigned k) {
  return element(is_float8, shared_memory() + address_of(operand, is_float8 ? 1 : 2, index, k));
}

void check_descriptor(const Operand& operand) {
  if (operand.descriptor >> 62 != 1) fail_kernel("a matrix descriptor without the 128-byte swizzle");
  if ((operand.descriptor >> 49 & 7) != 0) fail_kernel("a matrix descriptor with a base offset");
  const unsigned behind_border = (operand.descriptor & 0x3F) << 4;
  if (operand.is_mn_major ? behind_border != 0 : behind_border >= 128 || behind_border % 32 != 0) {
    fail_kernel("an operand that does not begin on its border");
  }
}

// What the product reads of `count` rows (or columns) from `first` on.
std::vector<Span> pieces_of(const Operand& operand, bool is_float8, unsigned first, unsigned count) {
  const unsigned size = is_float8 ? 1 : 2, per_piece = kPiece / size;
  std::vector<Span> pieces;
  auto add = [&](unsigned index, unsigned k) {
    const unsigned address = address_of(operand, size, index, k);
    pieces.push_back({address, address + kPiece});
  };
  for (unsigned index = first; index < first + count; index += operand.is_mn_major ? per_piece : 1) {
    for (unsigned k = 0; k < kInner / size; k += operand.is_mn_major ? 1 : per_piece) add(index, k);
  }
  return pieces;
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
  if (is_float8) fail_kernel("8-bit operands in registers");
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
  for (uint64_t access : issued.accesses) end_access(access);
  auto& sums = thread->sums.at(issued.product.sums).values;
  for (size_t i = 0; i < added.size(); ++i) sums[i] = issued.product.accumulate ? sums[i] + added[i] : added[i];
}

// Registers that are full of NaN are so still.
void check_poison(const float* sums, size_t count) {
  const auto* bytes = reinterpret_cast<const std::byte*>(sums);
  if (!std::all_of(bytes, bytes + count * sizeof(float), [](std::byte byte) { return byte == std::byte{0xFF}; })) {
    fail_kernel("the sums of a product were written before it was waited for and fence_registers() was called");
  }
}

void touch(Thread* thread, const void* from, const void* to) {
  std::erase_if(thread->fenced, [&](const Registers& some) { return some.meets(from, to); });
  thread->touched.push_back({from, to});
}

void check_fenced(const Thread& thread, const void* from, const void* to) {
  for (const Registers& some : thread.fenced) {
    if (some.begin <= from && to <= some.end) return;
  }
  fail_kernel("registers of a product without fence_registers() in front of the fence");
}

// Takes the sums from the thread.
void begin_sums(Thread* thread, const WarpgroupProduct& product) {
  const size_t count = product.n / 2;
  if (auto found = thread->sums.find(product.sums); found != thread->sums.end()) {
    if (found->second.values.size() != count) fail_kernel("products of different shapes add to the same sums");
    check_poison(product.sums, count);
    found->second.is_under_way = true;
    return;
  }
  check_fenced(*thread, product.sums, product.sums + count);
  thread->sums.emplace(product.sums, Sums{std::vector<float>(product.sums, product.sums + count)});
  std::memset(product.sums, 0xFF, count * sizeof(float));
}

// That all threads of the warpgroup issue this product as the next one.
void check_alike(Thread* thread, const WarpgroupProduct& product) {
  auto& whole = products().of_warpgroups[thread_number() / kWarpgroup];
  const Signature own_words{product.a,          product.b,          product.n,
                            product.is_float8,  product.accumulate, product.a_registers != nullptr,
                            product.a_mn_major, product.b_mn_major};
  if (thread->count == whole.size()) whole.push_back(own_words);
  if (whole[thread->count++] != own_words) fail_kernel("the warps of a warpgroup issue different products");
}

}  // namespace

void touch_sums(float* sums, size_t count) {
  Thread& thread = own();
  for (auto held = thread.sums.begin(); held != thread.sums.end();) {
    auto& [registers, its] = *held;
    if (!Registers{registers, registers + its.values.size()}.meets(sums, sums + count)) {
      ++held;
      continue;
    }
    if (its.is_under_way) fail_kernel("the sums of a product are touched before it was waited for");
    check_poison(registers, its.values.size());
    std::copy(its.values.begin(), its.values.end(), registers);
    held = thread.sums.erase(held);
  }
  touch(&thread, sums, sums + count);
}

void touch_operand(const unsigned* registers, size_t count) {
  Thread& thread = own();
  for (const Issued& issued : thread.issued) {
    const unsigned* read = issued.product.a_registers;
    if (read == nullptr || read < registers || read >= registers + count) continue;
    if (!std::equal(issued.a_registers.begin(), issued.a_registers.end(), read)) {
      fail_kernel("an operand in registers was written before its product was waited for");
    }
  }
  touch(&thread, registers, registers + count);
}

void fence_products() {
  Thread& thread = own();
  thread.fenced.insert(thread.fenced.end(), thread.touched.begin(), thread.touched.end());
  thread.touched.clear();
  thread.is_fenced = true;
}

void multiply_async(const WarpgroupProduct& product) {
  Thread& thread = own();
  const Operand a{product.a, product.a_mn_major}, b{product.b, product.b_mn_major};
  if (!thread.is_fenced) fail_kernel("a warpgroup's product without a fence behind the last wait");
  if (!product.a_registers) check_descriptor(a);
  check_descriptor(b);
  check_alike(&thread, product);
  begin_sums(&thread, product);
  // All lanes issue it together.
  sync_warp(0xFFFFFFFFU);
  Issued issued{product, {}, {}, {}, {}};
  if (product.a_registers) {
    const unsigned* from = product.a_registers;
    check_fenced(thread, from, from + 4);
    std::copy(from, from + 4, issued.a_registers.begin());
    issued.a_rows = gathered({from[0], from[1], from[2], from[3]}, product.is_float8);
  }
  if (const unsigned number = thread_number() % kWarpgroup; number % 32 == 0) {
    if (!product.a_registers) {
      const auto pieces = pieces_of(a, product.is_float8, number / 32 * 16, 16);
      issued.accesses.push_back(begin_access(Access::kRead, pieces, "operand A of a product"));
    }
    const auto pieces = pieces_of(b, product.is_float8, 0, product.n);
    issued.accesses.push_back(begin_access(Access::kRead, pieces, "operand B of a product"));
  }
  if (!draws_late()) issued.sums = multiplied(issued);
  thread.issued.push_back(std::move(issued));
}

void commit_products() {
  auto& issued = own().issued;
  if (!issued.empty()) issued.back().ends_group = true;
}

void wait_for_products(unsigned groups_left) {
  Thread& thread = own();
  auto& issued = thread.issued;
  auto groups = static_cast<size_t>(
      std::count_if(issued.begin(), issued.end(), [](const Issued& one) { return one.ends_group; }));
  while (groups > groups_left) {
    finish(&thread, issued.front());
    groups -= issued.front().ends_group ? 1 : 0;
    issued.erase(issued.begin());
  }
  for (auto& [registers, sums] : thread.sums) {
    sums.is_under_way =
        std::any_of(issued.begin(), issued.end(), [&](const Issued& one) { return one.product.sums == registers; });
  }
  thread.is_fenced = false;
  sync_warp(0xFFFFFFFFU);  // a warp waits as a whole
}

}  // namespace freshet::cuda::emulated
