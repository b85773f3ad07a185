// Ranks under mpirun. The only file that knows MPI; the engine's library does without it. Made once, on the thread that
// will make all calls (MPI_THREAD_FUNNELED); MPI is initialised in open() and finalised by finish(). A rank that ends
// without finish() takes the gang down with it, which is what a failed rank wants.
#pragma once

#include <memory>

#include "base/status.h"
#include "worker/comm/communicator.h"

namespace freshet::worker {

// What mpirun told this process, before (and without) any MPI call: the rank and the number of ranks, or {0, 1} for a
// process that mpirun did not start.
struct MpiPlace {
  int rank = 0;
  int size = 1;
};
MpiPlace mpi_place();

class MpiCommunicator final : public Communicator {
 public:
  static Result<std::unique_ptr<MpiCommunicator>> open();

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Status exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming) override;
  // Waits for all ranks and shuts MPI down; the last call.
  Status finish();

 private:
  MpiCommunicator() = default;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace freshet::worker
