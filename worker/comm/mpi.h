// Ranks under mpirun. The only file that knows MPI; the engine's library does without it. At most one a process; all
// calls from one thread (MPI_THREAD_FUNNELED). MPI is initialised in start() and finalised by finish(). A rank that
// ends without finish() takes the gang down with it, which is what a failed rank wants.
#pragma once

#include "base/status.h"
#include "worker/comm/communicator.h"

namespace freshet::worker {

// What mpirun told this process, before (and without) any MPI call: the rank and the number of ranks, of the gang and
// of its part on this machine, or one alone for a process that mpirun did not start.
struct MpiPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
};
MpiPlace mpi_place();

class MpiCommunicator final : public Communicator {
 public:
  // Chooses MPI's settings through the environment, so it is called before there are other threads.
  explicit MpiCommunicator(MpiPlace place);

  int rank() const override { return place_.rank; }
  int size() const override { return place_.size; }
  Status start() override;
  Status exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming) override;
  // Waits for all ranks and shuts MPI down; the last call.
  Status finish();

 private:
  const MpiPlace place_;
};

}  // namespace freshet::worker
