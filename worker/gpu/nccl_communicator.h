// A DeviceCommunicator over NCCL: an exchange is one group of sends and receives, and no reduction of NCCL is ever
// called. One rank has one device of its own. Each exchange also marks on the stream when it is entered and left, so
// that an error tells where this rank is, and the errors of all ranks tell which one is behind.
//
// After an error the communicator is aborted, as those of the other ranks must be: the error is given again for every
// later call, and the rank ends. NCCL frees an aborted or finished communicator only when the graphs are gone that
// exchanges were recorded into.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "worker/gpu/device_communicator.h"
#include "worker/gpu/nccl_library.h"

namespace freshet::worker {

struct NcclOptions {
  Duration join_timeout = Duration::seconds(120);  // all ranks are there and connected
  Duration wait_timeout = Duration::seconds(600);  // longer than any step and what lies between two
};

// Where a rank's device is.
struct CollectiveProgress {
  struct Exchange {
    uint32_t number = 0;  // in its step, from 1; 0: none yet
    std::string operation;
  };
  uint64_t step = 0;  // that was waited for last
  Exchange entered;   // what it began last
  Exchange left;      // and ended last: another one while it is within
  bool is_within() const { return entered.number != left.number; }
};

class NcclCommunicator final : public DeviceCommunicator {
 public:
  // Joins all ranks of `bootstrap`, which are on their devices already, and connects each with each, so that nothing is
  // connected when a graph is recorded. Every rank calls it; all fail when one does. `nccl` and `clock` outlive it.
  static Result<std::unique_ptr<NcclCommunicator>> create(NcclLibrary* nccl, Communicator* bootstrap,
                                                          const Clock* clock, const NcclOptions& options);
  // Without finish(): aborts.
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool is_asynchronous() const override { return true; }
  Status exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                  const std::vector<MutableBytes>& incoming, cuda::Stream* stream) override;
  void begin_step() override { exchanges_ = 0; }
  // Watches NCCL meanwhile. deadline after wait_timeout.
  Status wait(const cuda::Event& event, uint64_t step) override;

  // The error that ended it.
  const Status& status() const { return status_; }
  // Any thread.
  CollectiveProgress progress() const;
  // Waits until all ranks have called it, and ends it. The last call; what was queued has been waited for.
  Status finish();

 private:
  NcclCommunicator(NcclLibrary* nccl, const Clock* clock, const NcclOptions& options, int rank, int size,
                   cuda::PinnedMemory marks);
  Status join(const NcclId& id);
  Status connect();
  Status queue_group(const std::string& operation, const std::vector<Bytes>& outgoing,
                     const std::vector<MutableBytes>& incoming, cuda::Stream* stream);
  // `result` of a call, and what it has become when it is no longer in progress.
  Status settle(NcclResult result, const std::string& what);
  Status check_asynchronous_error();
  Status fail(Code code, const std::string& why);
  Duration timeout() const { return is_connected_ ? options_.wait_timeout : options_.join_timeout; }
  std::string where() const;
  uint32_t mark_of(const std::string& operation);

  NcclLibrary* const nccl_;
  const Clock* const clock_;
  const NcclOptions options_;
  const int rank_, size_;
  NcclComm* comm_ = nullptr;
  bool is_connected_ = false;
  Status status_;
  uint32_t exchanges_ = 0;    // of the step so far
  cuda::PinnedMemory marks_;  // entered, left: the number of an operation, and that of the exchange in its step
  mutable std::mutex mutex_;  // over:
  std::vector<std::string> operations_;  // every one that there was
  std::atomic<uint64_t> step_ = 0;
};

}  // namespace freshet::worker
