// What a rank of the preset cuda has beside a CPU: the GPU that it takes, and NCCL's communicator where every rank of
// the gang has one for itself. One object per process, on the thread that trains, made before the gang is joined.
#pragma once

#include <memory>

#include "base/status.h"
#include "base/time.h"
#include "worker/gpu/gpu_accelerator.h"
#include "worker/gpu/nccl_gang.h"

namespace freshet::worker {

class GpuRank {
 public:
  // FRESHET_PRODUCTS in the environment names the table of products (freshet-tune).
  static Result<std::unique_ptr<GpuRank>> create(int local_rank, int local_ranks);

  // Null where the machine has no GPU.
  Accelerator* accelerator() const { return accelerator_.get(); }
  // When all engines are gone; every rank calls it.
  Status finish() { return gang_.finish(); }

 private:
  GpuRank();
  SystemClock clock_;
  NcclGang gang_;
  std::unique_ptr<GpuAccelerator> accelerator_;
};

}  // namespace freshet::worker
