#include "worker/gpu/nccl_communicator.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/mark.h"

namespace freshet::worker {
namespace {

// Between two looks: short beside a step, long beside a look.
void pause() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

constexpr uint32_t kNumberBits = 16;  // of a mark; above them is the operation

std::string text_of(Duration time) {
  return time < Duration::seconds(1) ? std::to_string(time.us / 1000) + " ms"
                                     : std::to_string(time.us / 1'000'000) + " s";
}

}  // namespace

Result<std::unique_ptr<NcclCommunicator>> NcclCommunicator::create(NcclLibrary* nccl, Communicator* bootstrap,
                                                                   const Clock* clock, const NcclOptions& options) {
  ASSIGN_OR_RETURN(auto marks, cuda::PinnedMemory::allocate(2 * sizeof(uint32_t)));
  std::unique_ptr<NcclCommunicator> made(
      new NcclCommunicator(nccl, clock, options, bootstrap->rank(), bootstrap->size(), std::move(marks)));
  NcclId id{};
  Status has_id;
  if (made->rank_ == 0) {
    const NcclResult result = nccl->get_unique_id(&id);
    if (result != NcclResult::kSuccess) has_id = unavailable("ncclGetUniqueId: " + nccl->error_text(result, nullptr));
  }
  RETURN_IF_ERROR(bootstrap->agree(has_id));
  RETURN_IF_ERROR(bootstrap->broadcast(id));
  RETURN_IF_ERROR(bootstrap->agree(made->join(id)));
  RETURN_IF_ERROR(bootstrap->agree(made->connect()));
  return made;
}

NcclCommunicator::NcclCommunicator(NcclLibrary* nccl, const Clock* clock, const NcclOptions& options, int rank,
                                   int size, cuda::PinnedMemory marks)
    : nccl_(nccl), clock_(clock), options_(options), rank_(rank), size_(size), marks_(std::move(marks)) {
  marks_.data<uint32_t>()[0] = marks_.data<uint32_t>()[1] = 0;
}

NcclCommunicator::~NcclCommunicator() {
  if (comm_) (void)nccl_->comm_abort(comm_);
}

Status NcclCommunicator::join(const NcclId& id) {
  const NcclResult result = nccl_->comm_init_rank(&comm_, size_, id, rank_);
  return settle(result, "joining the other ranks");
}

// One byte from each to each.
Status NcclCommunicator::connect() {
  const auto ranks = static_cast<size_t>(size_);
  ASSIGN_OR_RETURN(auto bytes, cuda::DeviceMemory::allocate(ranks + 1));
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto event, cuda::Event::create());
  RETURN_IF_ERROR(cuda::fill_bytes(bytes.data(), 0, bytes.bytes(), stream.get()));
  std::vector<MutableBytes> incoming;
  for (size_t peer = 0; peer < ranks; ++peer) incoming.emplace_back(bytes.data() + peer, 1);
  RETURN_IF_ERROR(
      exchange("first contact", std::vector<Bytes>(ranks, Bytes(bytes.data() + ranks, 1)), incoming, &stream));
  RETURN_IF_ERROR(event.record(stream.get()));
  RETURN_IF_ERROR(wait(event, 0));
  is_connected_ = true;
  begin_step();
  return Status::ok();
}

Status NcclCommunicator::exchange(const std::string& operation, const std::vector<Bytes>& outgoing,
                                  const std::vector<MutableBytes>& incoming, cuda::Stream* stream) {
  CHECK(outgoing.size() == static_cast<size_t>(size_) && incoming.size() == static_cast<size_t>(size_));
  RETURN_IF_ERROR(status_);
  const uint32_t mark = mark_of(operation);
  RETURN_IF_ERROR(cuda::mark(mark, &marks_.data<uint32_t>()[0], stream->get()));
  RETURN_IF_ERROR(queue_group(operation, outgoing, incoming, stream));
  return cuda::mark(mark, &marks_.data<uint32_t>()[1], stream->get());
}

// It names the operation for as long as a graph may be launched that it was recorded into.
uint32_t NcclCommunicator::mark_of(const std::string& operation) {
  std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(operations_, operation);
  const auto index = static_cast<uint32_t>(found - operations_.begin());
  if (found == operations_.end()) operations_.push_back(operation);
  CHECK(index < 1U << (32 - kNumberBits) && exchanges_ + 1 < 1U << kNumberBits);
  return index << kNumberBits | ++exchanges_;
}

// Also where this rank neither sends nor receives, so that groups of the same number belong together on all ranks.
Status NcclCommunicator::queue_group(const std::string& operation, const std::vector<Bytes>& outgoing,
                                     const std::vector<MutableBytes>& incoming, cuda::Stream* stream) {
  NcclResult result = nccl_->group_start();
  if (result != NcclResult::kSuccess) return settle(result, "ncclGroupStart");
  for (int step = 1; step < size_ && result == NcclResult::kSuccess; ++step) {
    const int to = (rank_ + step) % size_, from = (rank_ + size_ - step) % size_;
    const Bytes out = outgoing[static_cast<size_t>(to)];
    const MutableBytes in = incoming[static_cast<size_t>(from)];
    if (!out.empty()) result = nccl_->send(out.data(), out.size(), to, comm_, stream->get());
    if (!in.empty() && result == NcclResult::kSuccess) {
      result = nccl_->recv(in.data(), in.size(), from, comm_, stream->get());
    }
  }
  const NcclResult ended = nccl_->group_end();  // in any case: a group that stays open would take in what comes later
  return settle(result == NcclResult::kSuccess ? ended : result, "queueing " + operation);
}

Status NcclCommunicator::settle(NcclResult result, const std::string& what) {
  const Time begin = clock_->monotonic();
  while (result == NcclResult::kInProgress) {
    if (clock_->monotonic() - begin > timeout()) {
      return fail(Code::kDeadline, what + " took longer than " + text_of(timeout()) + ": a rank is missing");
    }
    pause();
    NcclResult state = NcclResult::kInProgress;
    const NcclResult asked = nccl_->comm_get_async_error(comm_, &state);
    result = asked == NcclResult::kSuccess ? state : asked;
  }
  if (result == NcclResult::kSuccess) return Status::ok();
  return fail(Code::kUnavailable, what + ": " + nccl_->error_text(result, comm_));
}

Status NcclCommunicator::check_asynchronous_error() {
  NcclResult state = NcclResult::kSuccess;
  const NcclResult asked = nccl_->comm_get_async_error(comm_, &state);
  const NcclResult result = asked == NcclResult::kSuccess ? state : asked;
  if (result == NcclResult::kSuccess || result == NcclResult::kInProgress) return Status::ok();
  return fail(Code::kUnavailable, nccl_->error_text(result, comm_));
}

Status NcclCommunicator::wait(const cuda::Event& event, uint64_t step) {
  RETURN_IF_ERROR(status_);
  step_.store(step);
  const Time begin = clock_->monotonic();
  while (true) {
    const auto is_done = nccl_->is_done(event);
    if (!is_done.is_ok()) return fail(is_done.status().code(), is_done.status().message());
    // Before the answer counts: what an aborted exchange leaves behind is nobody's data.
    RETURN_IF_ERROR(check_asynchronous_error());
    if (*is_done) return Status::ok();
    if (clock_->monotonic() - begin > timeout()) {
      return fail(Code::kDeadline, "not done within " + text_of(timeout()));
    }
    pause();
  }
}

CollectiveProgress NcclCommunicator::progress() const {
  auto exchange_at = [&](size_t word) -> CollectiveProgress::Exchange {
    const uint32_t mark = std::atomic_ref<uint32_t>(marks_.data<uint32_t>()[word]).load();
    if (mark == 0) return {};
    std::lock_guard lock(mutex_);
    return {mark & ((1U << kNumberBits) - 1), operations_[mark >> kNumberBits]};
  };
  return {step_.load(), exchange_at(0), exchange_at(1)};
}

std::string NcclCommunicator::where() const {
  const CollectiveProgress at = progress();
  const std::string step = "step " + std::to_string(at.step);
  if (at.entered.number == 0) return step + ", before any collective";
  return step + (at.is_within() ? ", in" : ", behind") + " collective " + std::to_string(at.entered.number) + " (" +
         at.entered.operation + ")";
}

Status NcclCommunicator::fail(Code code, const std::string& why) {
  status_ = Status(
      code, "NCCL, rank " + std::to_string(rank_) + " of " + std::to_string(size_) + ", " + where() + ": " + why);
  if (comm_) (void)nccl_->comm_abort(comm_);
  comm_ = nullptr;
  return status_;
}

Status NcclCommunicator::finish() {
  RETURN_IF_ERROR(status_);
  RETURN_IF_ERROR(settle(nccl_->comm_finalize(comm_), "ncclCommFinalize"));
  const NcclResult result = nccl_->comm_destroy(std::exchange(comm_, nullptr));
  if (result != NcclResult::kSuccess) {
    return fail(Code::kUnavailable, "ncclCommDestroy: " + nccl_->error_text(result, nullptr));
  }
  status_ = unavailable("this NCCL communicator has been finished");
  return Status::ok();
}

}  // namespace freshet::worker
