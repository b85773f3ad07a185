#include "worker/gpu/nccl_gang.h"

namespace freshet::worker {

Result<NcclCommunicator*> NcclGang::join(Communicator* bootstrap) {
  const bool fits =
      comm_ && comm_->status().is_ok() && comm_->rank() == bootstrap->rank() && comm_->size() == bootstrap->size();
  if (bootstrap->agree(fits ? Status::ok() : not_found("no NCCL communicator")).is_ok()) {
    comm_->begin_step();
    return comm_.get();
  }
  comm_.reset();
  ASSIGN_OR_RETURN(comm_, NcclCommunicator::create(nccl_, bootstrap, clock_, options_));
  return comm_.get();
}

Status NcclGang::finish() {
  if (!comm_ || !comm_->status().is_ok()) return Status::ok();
  return comm_->finish();
}

}  // namespace freshet::worker
