#include "kernels/cuda/emulated/threads.h"

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <map>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "base/random.h"
#include "kernels/cuda/emulated/guarded_memory.h"
#include "kernels/cuda/emulated/streams.h"

namespace freshet::cuda::emulated {
namespace {

namespace context = boost::context;

constexpr size_t kStackBytes = 256 * 1024;
constexpr unsigned kLanes = 32;

struct Copy {
  void* to;
  const void* from;
  size_t bytes, zeros;
};

struct Fiber {
  context::fiber suspended, scheduler;
  bool is_done = true;
  unsigned number = 0;
  uint3 index{};
  const char* waits_for = "";
  std::vector<std::vector<Copy>> copies;  // the last group is open
};

struct Barrier {
  unsigned arrived = 0, expected = 0;
  uint64_t generation = 0;
};

struct Warp {
  Barrier barrier;
  unsigned mask = 0;  // of the operation under way
  alignas(16) std::byte values[2][kLanes * kCollectedBytes] = {};
  unsigned given[2] = {};
  uint64_t operations = 0;
};

// The block that runs on this operating-system thread.
struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::map<unsigned, Barrier> barriers;
  GuardedMemory shared;
  std::vector<std::function<Status()>> end_checks;
  Status error;  // of the block
  const std::function<void()>* thread = nullptr;
  Fiber* running = nullptr;
  unsigned threads = 0, live = 0;
  bool progress = false;
  uint64_t launches = 0;
};

thread_local Machine machine;

void suspend() {
  Fiber* self = machine.running;
  self->scheduler = std::move(self->scheduler).resume();
}

std::unique_ptr<Fiber> make_fiber() {
  auto made = std::make_unique<Fiber>();
  Fiber* self = made.get();
  self->suspended = context::fiber(std::allocator_arg, context::fixedsize_stack(kStackBytes),
                                   [self](context::fiber&& scheduler) -> context::fiber {
                                     self->scheduler = std::move(scheduler);
                                     for (;;) {
                                       (*machine.thread)();
                                       self->is_done = true;
                                       --machine.live;
                                       suspend();
                                     }
                                   });
  return made;
}

void resume(Fiber* fiber) {
  machine.running = fiber;
  indices.thread = fiber->index;
  fiber->suspended = std::move(fiber->suspended).resume();
}

template <class T>
void shuffle_order(std::vector<T>* order, const Philox& random, uint64_t* drawn) {
  for (size_t i = order->size(); i > 1; --i) std::swap((*order)[i - 1], (*order)[random.below((*drawn)++, i)]);
}

void begin_block(const KernelShape& shape) {
  machine.threads = machine.live = shape.block.x * shape.block.y * shape.block.z;
  while (machine.fibers.size() < machine.threads) machine.fibers.push_back(make_fiber());
  for (unsigned number = 0; number < machine.threads; ++number) {
    Fiber& fiber = *machine.fibers[number];
    fiber.is_done = false;
    fiber.number = number;
    fiber.index = {number % shape.block.x, number / shape.block.x % shape.block.y,
                   number / (shape.block.x * shape.block.y)};
    fiber.copies.assign(1, {});
  }
  machine.warps.assign((machine.threads + kLanes - 1) / kLanes, {});
  machine.barriers.clear();
  machine.shared.poison();
  machine.error = Status::ok();
}

std::string block_name() {
  const uint3& at = indices.block;
  return "block (" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

Status run_block(const std::string& name, const Philox& random, uint64_t* drawn) {
  std::vector<unsigned> order(machine.threads);
  std::iota(order.begin(), order.end(), 0U);
  shuffle_order(&order, random, drawn);
  // Some warps, others every few rounds, go on only when the rest cannot.
  uint64_t held = 0;
  bool is_rest_stuck = false;
  while (machine.live > 0) {
    if (random.below((*drawn)++, 4) == 0) held = random.below((*drawn)++, uint64_t{1} << machine.warps.size());
    machine.progress = false;
    for (unsigned number : order) {
      Fiber* fiber = machine.fibers[number].get();
      if (fiber->is_done || (!is_rest_stuck && (held >> number / kLanes & 1) != 0)) continue;
      const unsigned before = machine.live;
      resume(fiber);
      if (!machine.error.is_ok()) {
        machine.fibers.clear();
        return machine.error.with_context(name);
      }
      machine.progress |= machine.live < before;
    }
    if (!machine.progress && !is_rest_stuck && held != 0) {
      is_rest_stuck = true;
      continue;
    }
    is_rest_stuck = false;
    if (!machine.progress) {
      std::map<std::string, unsigned> waiting;
      for (unsigned number : order) {
        if (!machine.fibers[number]->is_done) ++waiting[machine.fibers[number]->waits_for];
      }
      std::string who;
      for (const auto& [what, count] : waiting) who += ", " + std::to_string(count) + " for " + what;
      machine.fibers.clear();
      return internal(name + ": the threads of " + block_name() + " wait for each other" + who);
    }
  }
  return Status::ok();
}

// Whether this arrival was the last one.
bool arrive_at(Barrier* barrier, unsigned expected) {
  if (++barrier->arrived < expected) return false;
  barrier->arrived = 0;
  ++barrier->generation;
  return true;
}

Warp& own_warp() { return machine.warps[machine.running->number / kLanes]; }

// Every lane of the mask gives its value; when all have, each goes on. Which of the two sets of values was used.
unsigned meet(unsigned mask, const void* value, size_t bytes) {
  Warp& warp = own_warp();
  const unsigned lane = machine.running->number % kLanes;
  CHECK_MSG((mask >> lane & 1) != 0, "a lane that is not in its own mask");
  // The mask may name lanes that the block does not have.
  const unsigned left = machine.threads - machine.running->number / kLanes * kLanes;
  if (left < kLanes) mask &= (1U << left) - 1;
  if (warp.barrier.arrived == 0) {
    warp.mask = mask;
    warp.given[warp.operations % 2] = mask;
  }
  CHECK_MSG(warp.mask == mask, "lanes of one warp operation with different masks");
  const unsigned set = warp.operations % 2;
  if (bytes > 0) std::memcpy(warp.values[set] + lane * bytes, value, bytes);
  const uint64_t generation = warp.barrier.generation;
  if (arrive_at(&warp.barrier, static_cast<unsigned>(std::popcount(mask)))) {
    ++warp.operations;
    machine.progress = true;
  } else {
    wait_until("lanes of its warp", [&] { return warp.barrier.generation != generation; });
  }
  return set;
}

}  // namespace

unsigned thread_number() { return machine.running->number; }
std::byte* shared_memory() { return machine.shared.data(); }
size_t shared_bytes() { return machine.shared.bytes(); }

void fail_kernel(const std::string& what) {
  machine.error = internal("thread " + std::to_string(thread_number()) + " of " + block_name() + ": " + what);
  for (;;) suspend();  // until the fiber is destroyed
}

void wait_until(const char* what, const std::function<bool()>& ready) {
  Fiber* self = machine.running;
  self->waits_for = what;
  while (!ready()) {
    suspend();
  }
  machine.progress = true;
}

void sync_block() {
  // Threads that have ended are not waited for, so the number is looked at anew each time.
  Barrier& barrier = machine.barriers[0];
  const uint64_t generation = barrier.generation;
  ++barrier.arrived;
  machine.progress = true;
  wait_until("__syncthreads", [&] {
    if (barrier.generation == generation && barrier.arrived >= machine.live) {
      barrier.arrived = 0;
      ++barrier.generation;
    }
    return barrier.generation != generation;
  });
}

void sync_some(unsigned id, unsigned threads) {
  if (id == 0 || id > 15) fail_kernel("barrier 0 is that of __syncthreads, and there are 16");
  if (threads % kLanes != 0) fail_kernel("a barrier of some threads that are not whole warps");
  Barrier& barrier = machine.barriers[id];
  if (barrier.arrived == 0) barrier.expected = threads;
  if (barrier.expected != threads) fail_kernel("threads that meet at a barrier expect different numbers of them");
  const uint64_t generation = barrier.generation;
  machine.progress = true;
  if (!arrive_at(&barrier, threads)) {
    wait_until("a barrier of some threads", [&] { return barrier.generation != generation; });
  }
}

void sync_warp(unsigned mask) { meet(mask, nullptr, 0); }

uint64_t exchange(unsigned mask, uint64_t value, unsigned from) {
  Warp& warp = own_warp();
  const unsigned set = meet(mask, &value, sizeof(value));
  if ((warp.given[set] >> from & 1) != 0) std::memcpy(&value, warp.values[set] + from * sizeof(value), sizeof(value));
  return value;
}

const void* collect(const void* value, size_t bytes) {
  CHECK_MSG(bytes <= kCollectedBytes, "too much for one warp operation");
  Warp& warp = own_warp();
  return warp.values[meet(0xFFFFFFFFU, value, bytes)];
}

unsigned ballot(unsigned mask, bool vote) {
  Warp& warp = own_warp();
  const unsigned set = meet(mask, &vote, sizeof(vote));
  unsigned votes = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((warp.given[set] >> lane & 1) != 0 && warp.values[set][lane] != std::byte{0}) votes |= 1U << lane;
  }
  return votes;
}

void at_block_end(std::function<Status()> check) { machine.end_checks.push_back(std::move(check)); }

void copy_async(void* to, const void* from, size_t bytes, size_t zeros) {
  std::memset(to, 0xFF, bytes + zeros);
  machine.running->copies.back().push_back({to, from, bytes, zeros});
}

void commit_copies() { machine.running->copies.emplace_back(); }

void wait_for_copies(unsigned groups_left) {
  auto& groups = machine.running->copies;
  while (groups.size() > size_t{groups_left} + 1) {
    for (const Copy& copy : groups.front()) {
      if (copy.bytes > 0) std::memcpy(copy.to, copy.from, copy.bytes);
      std::memset(static_cast<std::byte*>(copy.to) + copy.bytes, 0, copy.zeros);
    }
    groups.erase(groups.begin());
  }
}

Status queue_kernel(const char* name, const KernelShape& shape, CudaStream stream, std::function<void()> thread) {
  const unsigned threads = shape.block.x * shape.block.y * shape.block.z;
  if (threads == 0 || threads > 1024 || shape.grid.y > 65535 || shape.grid.z > 65535 ||
      shape.shared_bytes > 227 * 1024) {
    return internal("launching " + std::string(name) + " failed: invalid configuration argument");
  }
  return queue_work(stream, [name = std::string(name), shape, thread = std::move(thread)] {
    return run_kernel(name, shape, thread);
  });
}

Status run_kernel(const std::string& name, const KernelShape& shape, const std::function<void()>& thread) {
  const Philox random(++machine.launches, stream_of("order of emulated threads"));
  uint64_t drawn = 0;
  machine.thread = &thread;
  if (machine.shared.bytes() != shape.shared_bytes) machine.shared = GuardedMemory(shape.shared_bytes, 1024);
  indices.block_size = shape.block;
  indices.grid_size = shape.grid;
  std::vector<uint64_t> blocks(uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z);
  std::iota(blocks.begin(), blocks.end(), uint64_t{0});
  shuffle_order(&blocks, random, &drawn);
  for (uint64_t block : blocks) {
    const uint64_t plane = uint64_t{shape.grid.x} * shape.grid.y;
    indices.block = {static_cast<unsigned>(block % shape.grid.x), static_cast<unsigned>(block % plane / shape.grid.x),
                     static_cast<unsigned>(block / plane)};
    begin_block(shape);
    Status ended = run_block(name, random, &drawn);
    for (const auto& check : std::exchange(machine.end_checks, {})) {
      if (Status found = check(); ended.is_ok()) ended = found.with_context(name);
    }
    RETURN_IF_ERROR(ended);
  }
  return Status::ok();
}

}  // namespace freshet::cuda::emulated
