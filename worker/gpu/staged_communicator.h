// A DeviceCommunicator over any Communicator: what is sent is copied to pinned memory of the host and goes from there.
// For several ranks on one GPU, which NCCL refuses, and for machines without NCCL. It is not for speed: every exchange
// waits for its stream, so nothing overlaps with it and it can't be recorded into a graph.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "worker/gpu/device_communicator.h"

namespace freshet::worker {

class StagedDeviceCommunicator final : public DeviceCommunicator {
 public:
  // `comm` outlives it and is used on the same thread.
  explicit StagedDeviceCommunicator(Communicator* comm) : comm_(comm) {}
  ~StagedDeviceCommunicator() override;

  int rank() const override { return comm_->rank(); }
  int size() const override { return comm_->size(); }
  bool is_asynchronous() const override { return false; }
  Status exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                  const std::vector<MutableBytes>& incoming, cuda::Stream* stream) override;

 private:
  Status staged_exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming,
                         cuda::Stream* stream);
  // The pinned memory is free again when the last copy out of it is done.
  Status finish_arrivals();

  Communicator* const comm_;
  cuda::PinnedMemory sent_, received_;  // as large as any exchange was
  std::optional<cuda::Event> arrived_;
};

}  // namespace freshet::worker
