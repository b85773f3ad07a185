// Which GPU of a machine a rank takes: the one with its number among the ranks of the machine, of those that
// CUDA_VISIBLE_DEVICES leaves. Every rank sees the same list, as mpirun hands its environment on.
#pragma once

#include <string>

#include "base/status.h"

namespace freshet::worker {

enum class DeviceSharing {
  kNone,  // as NCCL demands
  kAny,   // ranks take turns over what there is: with StagedDeviceCommunicator
};

// unavailable when there are too few, with what to do about it. `visible`: CUDA_VISIBLE_DEVICES, null where it is not
// set.
Result<int> choose_local_device(int local_rank, int local_ranks, int devices, const char* visible,
                                DeviceSharing sharing);

// The same for this process; makes the device current for the calling thread. Its index.
Result<int> use_local_device(int local_rank, int local_ranks, DeviceSharing sharing);

}  // namespace freshet::worker
