// What runs beside the threads of a block on compute capability 9.0, emulated: the copy engine, the barriers in shared
// memory that count its bytes, and the warpgroups' matrix products. A copy or a product is done at once or as late as
// possible, drawn for each, so that a result that depends on one or the other differs from launch to launch; until it
// has been waited for, accumulators and tiles that have not come are full of NaN. Errors of the stream are: what was
// never waited for; threads' writes that no fence follows, or that come before a wait; barriers and warpgroups that are
// used otherwise than tma.cuh and wgmma.cuh say. A thread waits for a barrier's phases one by one, and arrives once in
// each. Not seen: what threads read too late. Included by tma.cuh and wgmma.cuh only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/emulated/threads.h"
#include "kernels/cuda/tensor_map.h"

namespace freshet::cuda::emulated {

// In the window of the block's shared memory.
unsigned shared_address(const void* shared);

// What threads have written to shared memory is seen by the units from now on.
void fence_proxies();

// A barrier is one word of shared memory on a border of 8 bytes.
void init_barrier(uint64_t* barrier, unsigned arrivals);
// Expects `bytes` more in this phase, then arrives.
void arrive_and_expect(uint64_t* barrier, unsigned bytes);
// Returns when the phase of this parity is over.
void wait_for_phase(uint64_t* barrier, unsigned parity);

// One thread calls. `at`: where the tile begins in the array, one number a dimension.
void load_tile(void* to, const TensorMap& map, uint64_t* barrier, const int* at, unsigned rank);
void store_tile(const TensorMap& map, const int* at, unsigned rank, const void* from);
void commit_stores();
void wait_for_stores(unsigned groups_left);

// One matrix product of a warpgroup, m64n<n>, over 32 bytes of the inner dimension.
struct WarpgroupProduct {
  float* sums;  // n / 2 of them
  unsigned n;
  bool is_float8;
  bool accumulate;
  // Of the two rows that the thread's sums lie in: from registers when `a_registers` is not null, else as described.
  const unsigned* a_registers;
  uint64_t a, b;
  bool a_mn_major, b_mn_major;
};
// fence_registers(): the thread reads or writes these registers in front of this, or behind.
void touch_sums(float* sums, size_t count);
void touch_operand(const unsigned* registers, size_t count);
void fence_products();
void multiply_async(const WarpgroupProduct& product);
void commit_products();
void wait_for_products(unsigned groups_left);

}  // namespace freshet::cuda::emulated
