#include "worker/gpu/gpu_rank.h"

#include <cstdlib>

#include "worker/gpu/linked_nccl.h"

namespace freshet::worker {

GpuRank::GpuRank() : gang_(linked_nccl(), &clock_, NcclOptions{}) {}

Result<std::unique_ptr<GpuRank>> GpuRank::create(int local_rank, int local_ranks) {
  std::unique_ptr<GpuRank> made(new GpuRank());
  auto connect = [gang = &made->gang_](Communicator* comm) -> Result<DeviceCommunicator*> {
    ASSIGN_OR_RETURN(NcclCommunicator * joined, gang->join(comm));
    return joined;
  };
  const char* products = std::getenv("FRESHET_PRODUCTS");
  ASSIGN_OR_RETURN(made->accelerator_, GpuAccelerator::create(local_rank, local_ranks, std::move(connect),
                                                              products == nullptr ? "" : products));
  return made;
}

}  // namespace freshet::worker
