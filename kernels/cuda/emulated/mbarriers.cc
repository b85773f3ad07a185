#include "kernels/cuda/emulated/mbarriers.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "kernels/cuda/emulated/async_proxy.h"

namespace freshet::cuda::emulated {
namespace {

struct Copy {
  int bytes;
  std::function<void()> land;
};

struct Barrier {
  unsigned arrivals = 0, missing = 0;
  int bytes = 0;      // still expected
  int64_t phase = 0;  // under way; those before it are over
  uint64_t fences = 0;
  std::set<unsigned> arrived;           // threads, in this phase
  std::map<unsigned, int64_t> awaited;  // by thread: the newest phase that it has waited for
  std::vector<Copy> copies;

  // What lies in shared memory.
  uint64_t word() const { return 0x6D62617272696572U ^ static_cast<uint64_t>(phase); }
};

struct Barriers {
  std::map<uint64_t*, Barrier> all;

  Status check_end() const {
    for (const auto& [at, barrier] : all) {
      if (!barrier.copies.empty()) return internal("a tile that was loaded was never waited for");
    }
    return Status::ok();
  }
};

Barrier& barrier_at(uint64_t* at) {
  auto& all = of_block<Barriers>().all;
  const auto found = all.find(at);
  if (found == all.end()) fail_kernel("a barrier that was not initialised");
  if (*at != found->second.word()) fail_kernel("something was written over a barrier");
  return found->second;
}

// Goes on to the next phase when nothing is missing.
void settle(uint64_t* at, Barrier* barrier) {
  if (barrier->missing > 0) return;
  if (barrier->bytes < 0) fail_kernel("more bytes came to a barrier than its phase expects");
  if (barrier->bytes > 0) return;
  if (!barrier->copies.empty()) fail_kernel("a phase of a barrier is over before the copies that report to it");
  barrier->missing = barrier->arrivals;
  barrier->arrived.clear();
  ++barrier->phase;
  *at = barrier->word();
}

void land_copies(uint64_t* at, Barrier* barrier) {
  while (!barrier->copies.empty()) {
    const Copy copy = std::move(barrier->copies.front());
    barrier->copies.erase(barrier->copies.begin());
    copy.land();
    barrier->bytes -= copy.bytes;
    settle(at, barrier);
  }
}

// Tells the scheduler that something happened that others may wait for.
void note_progress() {
  wait_until("nothing", [] { return true; });
}

}  // namespace

void init_barrier(uint64_t* at, unsigned arrivals) {
  if (shared_address(at) % 8 != 0) fail_kernel("a barrier that is not on a border of 8 bytes");
  if (arrivals == 0) fail_kernel("a barrier that waits for nobody");
  Barrier barrier;
  barrier.arrivals = barrier.missing = arrivals;
  barrier.fences = fences_so_far();
  *at = barrier.word();
  if (!of_block<Barriers>().all.emplace(at, std::move(barrier)).second) fail_kernel("a barrier is initialised twice");
}

void arrive_and_expect(uint64_t* at, unsigned bytes) {
  Barrier& barrier = barrier_at(at);
  if (barrier.missing == 0) fail_kernel("more arrivals than a barrier waits for");
  if (!barrier.arrived.insert(thread_number()).second) fail_kernel("a thread arrives twice in one phase of a barrier");
  barrier.bytes += static_cast<int>(bytes);
  --barrier.missing;
  settle(at, &barrier);
  note_progress();
}

void wait_for_phase(uint64_t* at, unsigned parity) {
  Barrier& barrier = barrier_at(at);
  // The one in front of a fresh barrier's first is over. A thread waits for the phase that it waited for last, or for
  // the next one: the parity says which.
  const int64_t last = barrier.awaited.try_emplace(thread_number(), -1).first->second;
  const int64_t phase = (last & 1) == (parity & 1) ? last : last + 1;
  wait_until("a barrier in shared memory", [&] {
    land_copies(at, &barrier);
    if (barrier.phase > phase + 1) fail_kernel("a barrier was two phases ahead of a thread that waited for it");
    return barrier.phase > phase;
  });
  barrier.awaited[thread_number()] = phase;
}

void add_copy(uint64_t* at, unsigned bytes, std::function<void()> land) {
  Barrier& barrier = barrier_at(at);
  if (barrier.fences == fences_so_far()) fail_kernel("a copy reports to a barrier without mbarrier_init_fence()");
  barrier.copies.push_back({static_cast<int>(bytes), std::move(land)});
}

}  // namespace freshet::cuda::emulated
