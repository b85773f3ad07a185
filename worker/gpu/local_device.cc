#include "worker/gpu/local_device.h"

#include <cstdlib>

#include "base/check.h"
#include "kernels/cuda/device.h"

namespace freshet::worker {

Result<int> choose_local_device(int local_rank, int local_ranks, int devices, const char* visible,
                                DeviceSharing sharing) {
  CHECK(local_rank >= 0 && local_rank < local_ranks);
  const std::string list = visible ? " (CUDA_VISIBLE_DEVICES is \"" + std::string(visible) + "\")" : "";
  if (devices == 0) {
    return unavailable("this machine has no GPU that CUDA can use" + list +
                       ": see what nvidia-smi says, or train on the CPU");
  }
  if (sharing == DeviceSharing::kAny) return local_rank % devices;
  if (local_ranks > devices) {
    return unavailable("this machine runs " + std::to_string(local_ranks) + " ranks of the gang, but each sees only " +
                       std::to_string(devices) + (devices == 1 ? " GPU" : " GPUs") + list + ": ask for at most " +
                       std::to_string(devices) + " ranks a machine, or let every rank see as many GPUs");
  }
  return local_rank;
}

Result<int> use_local_device(int local_rank, int local_ranks, DeviceSharing sharing) {
  ASSIGN_OR_RETURN(const int device, choose_local_device(local_rank, local_ranks, cuda::device_count(),
                                                         std::getenv("CUDA_VISIBLE_DEVICES"), sharing));
  RETURN_IF_ERROR(cuda::use_device(device));
  return device;
}

}  // namespace freshet::worker
