// Keeps the NCCL communicator of a warm gang from one attempt to the next, because joining takes seconds. One object
// per process, on the thread that trains.
#pragma once

#include <memory>

#include "base/status.h"
#include "base/time.h"
#include "worker/gpu/nccl_communicator.h"

namespace freshet::worker {

class NcclGang {
 public:
  // `nccl` and `clock` outlive it.
  NcclGang(NcclLibrary* nccl, const Clock* clock, const NcclOptions& options)
      : nccl_(nccl), clock_(clock), options_(options) {}

  // For the next attempt, whose ranks talk over `bootstrap`: the communicator that is there, if it is well on every
  // rank and of these ranks, else a new one on all. Every rank calls it. Owned by this object.
  Result<NcclCommunicator*> join(Communicator* bootstrap);
  // Before the process ends; every rank calls it.
  Status finish();

 private:
  NcclLibrary* const nccl_;
  const Clock* const clock_;
  const NcclOptions options_;
  std::unique_ptr<NcclCommunicator> comm_;
};

}  // namespace freshet::worker
