// What the copy engine needs of the barriers in shared memory. Internal to kernels/cuda/emulated.
#pragma once

#include <cstdint>
#include <functional>

namespace freshet::cuda::emulated {

// A copy of so many bytes reports to the barrier's phase. It arrives when a thread next waits for the barrier: then
// `land` runs.
void add_copy(uint64_t* barrier, unsigned bytes, std::function<void()> land);

}  // namespace freshet::cuda::emulated
