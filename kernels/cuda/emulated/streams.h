// The emulated streams: work is kept until somebody waits for it, which is the latest that a device may be. Internal to
// kernels/cuda/emulated.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda::emulated {

using Work = std::function<Status()>;

// Puts work behind what is on the stream, or into the graph that it is recording.
Status queue_work(CudaStream stream, Work work);

// Runs one kernel: all blocks, one after the other.
struct KernelShape;
Status run_kernel(const std::string& name, const KernelShape& shape, const std::function<void()>& thread);

}  // namespace freshet::cuda::emulated
