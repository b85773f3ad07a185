// NCCL between threads of one process over the emulated device: it records every group, does its sends and receives
// when the streams come to them, looks for calls that NCCL forbids and for sends without their receives, and fails when
// told to. Tests only; it serves any number of communicators, one a thread at a time.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "worker/gpu/nccl_library.h"

namespace freshet::worker {

class FakeNccl final : public NcclLibrary {
 public:
  struct Message {
    size_t group = 0;  // the communicator's, from 0
    int from = 0, to = 0;
    size_t bytes = 0;
  };

  FakeNccl();
  ~FakeNccl() override;

  // From its group number `group` on, a rank's communicator has this asynchronous error and its groups are never done.
  void fail_at(int rank, size_t group, NcclResult error);
  // A rank never comes to the group number `group`: the others are in it for ever.
  void hang_at(int rank, size_t group);
  // What is to fail from now on is nothing.
  void heal() { faults_.clear(); }
  // A rank can't join, so that the others wait for it.
  void refuse(int rank);

  std::vector<Message> messages() const;
  // Calls that NCCL forbids, and messages that don't fit.
  std::vector<std::string> mistakes() const;
  size_t joined() const;     // communicators ever
  size_t aborted() const;    // of these
  size_t destroyed() const;  // of these, after they were finalized

  NcclResult get_unique_id(NcclId* id) override;
  NcclResult comm_init_rank(NcclComm** comm, int ranks, const NcclId& id, int rank) override;
  NcclResult comm_get_async_error(NcclComm* comm, NcclResult* error) override;
  NcclResult comm_finalize(NcclComm* comm) override;
  NcclResult comm_destroy(NcclComm* comm) override;
  NcclResult comm_abort(NcclComm* comm) override;
  NcclResult group_start() override;
  NcclResult group_end() override;
  NcclResult send(const std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) override;
  NcclResult recv(std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) override;
  std::string error_text(NcclResult result, NcclComm* comm) override;
  Result<bool> is_done(const cuda::Event& event) override;

 private:
  struct Operation;
  struct Group;
  struct Clique;
  struct Fault {
    int rank = 0;
    size_t group = 0;
    NcclResult error = NcclResult::kSuccess;  // none: it hangs
  };
  friend struct ::freshet::worker::NcclComm;

  NcclResult mistake(const std::string& what);
  NcclResult add(const Operation& operation, NcclComm* comm);
  void start_group(NcclComm* comm, std::vector<Operation> operations);
  void check(const Clique& clique, size_t group, size_t rank);
  void queue_receives(NcclComm* comm, const std::vector<std::shared_ptr<Group>>& groups);

  mutable std::mutex mutex_;  // never held where the device is called
  std::condition_variable changed_;
  std::vector<std::unique_ptr<NcclComm>> comms_;
  std::map<std::thread::id, NcclComm*> comm_of_thread_;
  std::map<std::thread::id, std::vector<Operation>> open_;  // groups
  std::map<NcclId, std::unique_ptr<Clique>> cliques_;
  std::vector<Fault> faults_;
  std::vector<int> refused_;
  std::vector<Message> messages_;
  std::vector<std::string> mistakes_;
  size_t ids_ = 0, aborted_ = 0, destroyed_ = 0;
};

}  // namespace freshet::worker
