// How the units of async_units.h see a block's shared memory: what the PTX ISA calls the async proxy. They may rely on
// what they wrote themselves and on what threads had written when a thread last called fence_proxies(); and until a
// unit has been waited for, nobody may write what it reads, or touch what it writes. Each breach fails the kernel. What
// threads read is not seen. Internal to kernels/cuda/emulated.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cuda/emulated/async_units.h"

namespace freshet::cuda::emulated {

// Bytes of shared memory by their addresses there.
struct Span {
  unsigned begin = 0, end = 0;
};

enum class Access { kRead, kWrite };

// A unit reads or writes these bytes from now on; the number is for end_access(). `what` names it in errors.
uint64_t begin_access(Access access, std::vector<Span> pieces, const char* what);
// The unit itself has changed them.
void note_written(uint64_t number);
// That nobody else has.
void check_access(uint64_t number);
// Checks it for the last time: it was waited for.
void end_access(uint64_t number);

// How often threads have called fence_proxies() in this block.
uint64_t fences_so_far();

// Where what the 128-byte swizzle is applied to lies.
inline unsigned swizzled(unsigned address) { return address ^ (address >> 7 & 7) << 4; }

// Whether a copy or a product is done as late as possible, and not at once: drawn for each.
bool draws_late();

// The block's one State: made when it is first asked for; check_end() gives the stream's error when the block is over.
template <class State>
State& of_block() {
  thread_local std::unique_ptr<State> state;
  if (!state) {
    state = std::make_unique<State>();
    at_block_end([] { return std::exchange(state, nullptr)->check_end(); });
  }
  return *state;
}

}  // namespace freshet::cuda::emulated
