#include "worker/gpu/staged_communicator.h"

#include "base/check.h"

namespace freshet::worker {
namespace {

Status grow(cuda::PinnedMemory* memory, size_t bytes) {
  if (memory->bytes() >= bytes) return Status::ok();
  ASSIGN_OR_RETURN(*memory, cuda::PinnedMemory::allocate(bytes));
  return Status::ok();
}

}  // namespace

StagedDeviceCommunicator::~StagedDeviceCommunicator() { (void)finish_arrivals(); }

Status StagedDeviceCommunicator::finish_arrivals() {
  if (!arrived_) {
    ASSIGN_OR_RETURN(arrived_, cuda::Event::create());
    return Status::ok();
  }
  return arrived_->synchronize();
}

Status StagedDeviceCommunicator::exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                                          const std::vector<MutableBytes>& incoming, cuda::Stream* stream) {
  return staged_exchange(outgoing, incoming, stream).with_context(operation);
}

Status StagedDeviceCommunicator::staged_exchange(const std::vector<Bytes>& outgoing,
                                                 const std::vector<MutableBytes>& incoming, cuda::Stream* stream) {
  const auto ranks = static_cast<size_t>(size()), me = static_cast<size_t>(rank());
  CHECK(outgoing.size() == ranks && incoming.size() == ranks);
  RETURN_IF_ERROR(finish_arrivals());

  // What several ranks are sent is copied once.
  std::vector<size_t> place(ranks, 0);
  size_t out_bytes = 0, in_bytes = 0;
  std::vector<size_t> copied;
  for (size_t peer = 0; peer < ranks; ++peer) {
    if (peer == me) continue;
    in_bytes += incoming[peer].size();
    const bool is_last = !copied.empty() && outgoing[copied.back()].data() == outgoing[peer].data() &&
                         outgoing[copied.back()].size() == outgoing[peer].size();
    place[peer] = is_last ? place[copied.back()] : out_bytes;
    if (is_last) continue;
    out_bytes += outgoing[peer].size();
    copied.push_back(peer);
  }
  RETURN_IF_ERROR(grow(&sent_, out_bytes));
  RETURN_IF_ERROR(grow(&received_, in_bytes));
  for (size_t peer : copied) {
    RETURN_IF_ERROR(
        cuda::copy_to_host(sent_.data() + place[peer], outgoing[peer].data(), outgoing[peer].size(), stream->get()));
  }
  RETURN_IF_ERROR(stream->synchronize());

  std::vector<Bytes> host_out(ranks);
  std::vector<MutableBytes> host_in(ranks);
  size_t at = 0;
  for (size_t peer = 0; peer < ranks; ++peer) {
    if (peer == me) continue;
    host_out[peer] = Bytes(sent_.data() + place[peer], outgoing[peer].size());
    host_in[peer] = MutableBytes(received_.data() + at, incoming[peer].size());
    at += incoming[peer].size();
  }
  RETURN_IF_ERROR(comm_->exchange(host_out, host_in));
  for (size_t peer = 0; peer < ranks; ++peer) {
    if (peer == me) continue;
    RETURN_IF_ERROR(
        cuda::copy_to_device(incoming[peer].data(), host_in[peer].data(), host_in[peer].size(), stream->get()));
  }
  return arrived_->record(stream->get());
}

}  // namespace freshet::worker
