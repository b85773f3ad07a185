#include "tests/unit/worker_gpu/fake_nccl.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "kernels/cuda/emulated/streams.h"

namespace freshet::worker {

struct FakeNccl::Operation {
  const std::byte* from = nullptr;  // of a send
  std::byte* to = nullptr;          // of a receive
  size_t bytes = 0;
  int peer = 0;
  cuda::CudaStream stream = nullptr;
};

// What one rank does in one group. What it sends is copied when its stream comes to the group.
struct FakeNccl::Group {
  std::vector<Operation> operations;
  std::map<int, std::vector<std::vector<std::byte>>> mail;  // by receiver
  std::optional<cuda::Event> reached, sent;
  bool never_comes = false;

  std::vector<Operation> with(int peer, bool sends) const {
    std::vector<Operation> found;
    for (const auto& operation : operations) {
      if (operation.peer == peer && (operation.from != nullptr) == sends) found.push_back(operation);
    }
    return found;
  }
};

// The communicators with one id.
struct FakeNccl::Clique {
  std::vector<NcclComm*> members;
  std::vector<std::vector<std::shared_ptr<Group>>> groups;  // by number and rank
};

struct NcclComm {
  enum class State { kJoining, kReady, kConnecting, kFinalizing, kFinalized, kGone };
  FakeNccl::Clique* clique = nullptr;
  int rank = 0;
  State state = State::kJoining;
  NcclResult error = NcclResult::kSuccess;
  int looks = 0;                             // since the state began
  std::vector<FakeNccl::Operation> waiting;  // the group that connects
  std::vector<int> connected;                // peers
  size_t groups = 0;
  std::shared_ptr<FakeNccl::Group> stuck;  // the group that is never done
  std::atomic<bool> is_gone = false;

  bool is_last() const { return stuck || error != NcclResult::kSuccess || state == State::kGone; }
};

using State = NcclComm::State;

FakeNccl::FakeNccl() = default;
FakeNccl::~FakeNccl() = default;

void FakeNccl::fail_at(int rank, size_t group, NcclResult error) { faults_.push_back({rank, group, error}); }
void FakeNccl::hang_at(int rank, size_t group) { faults_.push_back({rank, group, NcclResult::kSuccess}); }
void FakeNccl::refuse(int rank) { refused_.push_back(rank); }

std::vector<FakeNccl::Message> FakeNccl::messages() const {
  std::lock_guard lock(mutex_);
  return messages_;
}
std::vector<std::string> FakeNccl::mistakes() const {
  std::lock_guard lock(mutex_);
  return mistakes_;
}
size_t FakeNccl::joined() const {
  std::lock_guard lock(mutex_);
  return comms_.size();
}
size_t FakeNccl::aborted() const {
  std::lock_guard lock(mutex_);
  return aborted_;
}
size_t FakeNccl::destroyed() const {
  std::lock_guard lock(mutex_);
  return destroyed_;
}

NcclResult FakeNccl::mistake(const std::string& what) {
  mistakes_.push_back(what);
  return NcclResult::kInvalidUsage;
}

NcclResult FakeNccl::get_unique_id(NcclId* id) {
  std::lock_guard lock(mutex_);
  id->fill(std::byte{0x5A});
  ++ids_;
  std::memcpy(id->data(), &ids_, sizeof(ids_));
  return NcclResult::kSuccess;
}

NcclResult FakeNccl::comm_init_rank(NcclComm** comm, int ranks, const NcclId& id, int rank) {
  std::lock_guard lock(mutex_);
  if (std::ranges::count(refused_, rank) > 0) return NcclResult::kSystemError;
  auto& clique = cliques_[id];
  if (!clique) clique = std::make_unique<Clique>();
  clique->members.resize(static_cast<size_t>(ranks));
  auto made = std::make_unique<NcclComm>();
  made->clique = clique.get();
  made->rank = rank;
  NcclComm*& member = clique->members[static_cast<size_t>(rank)];
  if (member) return mistake("two ranks " + std::to_string(rank));
  *comm = member = comm_of_thread_[std::this_thread::get_id()] = made.get();
  comms_.push_back(std::move(made));
  return NcclResult::kInProgress;
}

NcclResult FakeNccl::comm_get_async_error(NcclComm* comm, NcclResult* error) {
  std::vector<Operation> connecting;
  {
    std::lock_guard lock(mutex_);
    if (comm->state == State::kGone) return mistake("a look at a communicator that is gone");
    *error = NcclResult::kInProgress;
    if (++comm->looks < 2 && comm->state != State::kReady) return NcclResult::kSuccess;
    const auto& members = comm->clique->members;
    if (comm->state == State::kJoining && std::ranges::count(members, nullptr) == 0) comm->state = State::kReady;
    if (comm->state == State::kFinalizing && std::ranges::all_of(members, [](const NcclComm* one) {
          return one->state == State::kFinalizing || one->state == State::kFinalized || one->state == State::kGone;
        })) {
      comm->state = State::kFinalized;
    }
    if (comm->state == State::kConnecting) {
      comm->state = State::kReady;
      connecting.swap(comm->waiting);
    }
  }
  if (!connecting.empty()) start_group(comm, std::move(connecting));
  std::lock_guard lock(mutex_);
  if (comm->state == State::kReady || comm->state == State::kFinalized) *error = comm->error;
  return NcclResult::kSuccess;
}

NcclResult FakeNccl::comm_finalize(NcclComm* comm) {
  std::lock_guard lock(mutex_);
  if (comm->state != State::kReady || comm->is_last()) return mistake("finalize of a communicator that is not well");
  comm->state = State::kFinalizing;
  comm->looks = 0;
  return NcclResult::kInProgress;
}

NcclResult FakeNccl::comm_destroy(NcclComm* comm) {
  std::lock_guard lock(mutex_);
  if (comm->state != State::kFinalized) return mistake("destroy before finalize was done");
  comm->state = State::kGone;
  comm->is_gone = true;
  ++destroyed_;
  return NcclResult::kSuccess;
}

NcclResult FakeNccl::comm_abort(NcclComm* comm) {
  std::lock_guard lock(mutex_);
  if (comm->state == State::kGone) return mistake("abort of a communicator that is gone");
  comm->state = State::kGone;
  comm->is_gone = true;
  ++aborted_;
  changed_.notify_all();
  return NcclResult::kInProgress;
}

NcclResult FakeNccl::group_start() {
  std::lock_guard lock(mutex_);
  if (!open_.try_emplace(std::this_thread::get_id()).second) return mistake("a group in a group");
  return NcclResult::kSuccess;
}

NcclResult FakeNccl::add(const Operation& operation, NcclComm* comm) {
  std::lock_guard lock(mutex_);
  const auto group = open_.find(std::this_thread::get_id());
  if (group == open_.end()) return mistake("a message outside of a group");
  if (comm->state != State::kReady) return mistake("a message while the communicator is not ready");
  if (operation.peer == comm->rank || operation.bytes == 0) return mistake("a message that is none");
  if (!group->second.empty() && group->second.front().stream != operation.stream) return mistake("two streams");
  group->second.push_back(operation);
  return NcclResult::kSuccess;
}

NcclResult FakeNccl::send(const std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) {
  return add({data, nullptr, bytes, peer, stream}, comm);
}

NcclResult FakeNccl::recv(std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) {
  return add({nullptr, data, bytes, peer, stream}, comm);
}

// The first group with a peer connects the two: it is in progress until somebody has looked twice, and only then on
// the stream.
NcclResult FakeNccl::group_end() {
  std::vector<Operation> operations;
  NcclComm* comm = nullptr;
  {
    std::lock_guard lock(mutex_);
    const auto group = open_.find(std::this_thread::get_id());
    if (group == open_.end()) return mistake("the end of no group");
    operations.swap(group->second);
    open_.erase(group);
    comm = comm_of_thread_[std::this_thread::get_id()];
    bool connects = false;
    for (const auto& operation : operations) {
      if (std::ranges::count(comm->connected, operation.peer) > 0) continue;
      comm->connected.push_back(operation.peer);
      connects = true;
    }
    if (connects) {
      comm->state = State::kConnecting;
      comm->looks = 0;
      comm->waiting.swap(operations);
      return NcclResult::kInProgress;
    }
  }
  start_group(comm, std::move(operations));
  return NcclResult::kSuccess;
}

void FakeNccl::start_group(NcclComm* comm, std::vector<Operation> operations) {
  auto group = std::make_shared<Group>();
  group->operations = std::move(operations);
  const size_t number = comm->groups++;
  for (const Fault& fault : faults_) {
    if (fault.rank != comm->rank || fault.group != number) continue;
    group->never_comes = true;
    comm->error = fault.error;
  }
  if (!group->operations.empty()) {
    const cuda::CudaStream stream = group->operations.front().stream;
    auto place = [stream] {
      auto event = cuda::Event::create();
      CHECK(event.is_ok() && event->record(stream).is_ok());
      return *std::move(event);
    };
    group->reached = place();
    CHECK(cuda::emulated::queue_work(stream, [group, comm] {
            for (const auto& operation : group->operations) {
              if (operation.from == nullptr || group->never_comes || comm->is_gone) continue;
              group->mail[operation.peer].emplace_back(operation.from, operation.from + operation.bytes);
            }
            return Status::ok();
          }).is_ok());
    group->sent = place();
  }

  std::vector<std::shared_ptr<Group>> groups;
  {
    // What lies behind the group on the stream may run as soon as this returns, and then must not have to wait.
    std::unique_lock lock(mutex_);
    Clique& clique = *comm->clique;
    if (clique.groups.size() <= number) clique.groups.resize(number + 1);
    clique.groups[number].resize(clique.members.size());
    clique.groups[number][static_cast<size_t>(comm->rank)] = group;
    changed_.notify_all();
    auto is_lost = [&](size_t rank) { return clique.groups[number][rank] == nullptr && clique.members[rank]->is_gone; };
    changed_.wait(lock, [&] {
      for (size_t rank = 0; rank < clique.members.size(); ++rank) {
        if (clique.groups[number][rank] == nullptr && !is_lost(rank)) return false;
      }
      return true;
    });
    groups = clique.groups[number];
    for (size_t rank = 0; rank < groups.size(); ++rank) {
      if (!comm->stuck && (is_lost(rank) || groups[rank]->never_comes)) comm->stuck = group;
    }
    if (!comm->stuck) check(clique, number, static_cast<size_t>(comm->rank));
  }
  if (!comm->stuck && !group->operations.empty()) queue_receives(comm, groups);
}

// Every message of this rank has its other end in the peers' groups of the same number.
void FakeNccl::check(const Clique& clique, size_t number, size_t rank) {
  const Group& mine = *clique.groups[number][rank];
  for (size_t peer = 0; peer < clique.members.size(); ++peer) {
    if (peer == rank) continue;
    const Group& theirs = *clique.groups[number][peer];
    const auto sent = mine.with(static_cast<int>(peer), true), received = theirs.with(static_cast<int>(rank), false);
    bool fits = sent.size() == received.size();
    for (size_t i = 0; i < sent.size() && fits; ++i) fits = sent[i].bytes == received[i].bytes;
    if (!fits) {
      (void)mistake("group " + std::to_string(number) + ": what rank " + std::to_string(rank) + " sends is not what " +
                    std::to_string(peer) + " receives");
    }
    for (const auto& one : sent) {
      messages_.push_back({number, static_cast<int>(rank), static_cast<int>(peer), one.bytes});
    }
  }
}

void FakeNccl::queue_receives(NcclComm* comm, const std::vector<std::shared_ptr<Group>>& groups) {
  const auto me = static_cast<size_t>(comm->rank);
  const cuda::CudaStream stream = groups[me]->operations.front().stream;
  CHECK(cuda::emulated::queue_work(stream, [comm, me, groups]() -> Status {
          for (size_t peer = 0; peer < groups.size(); ++peer) {
            const auto receives = groups[me]->with(static_cast<int>(peer), false);
            if (receives.empty() || comm->is_gone) continue;
            if (!groups[peer]->sent) return internal("a receive without its send");
            RETURN_IF_ERROR(groups[peer]->sent->synchronize());  // the other device comes as far
            const auto& mail = groups[peer]->mail[comm->rank];
            if (mail.size() != receives.size()) return internal("a receive without its send");
            for (size_t i = 0; i < mail.size(); ++i) {
              std::memcpy(receives[i].to, mail[i].data(), std::min(mail[i].size(), receives[i].bytes));
            }
          }
          return Status::ok();
        }).is_ok());
}

std::string FakeNccl::error_text(NcclResult result, NcclComm*) {
  return "fake error " + std::to_string(static_cast<int>(result));
}

Result<bool> FakeNccl::is_done(const cuda::Event& event) {
  std::shared_ptr<Group> stuck;
  {
    std::lock_guard lock(mutex_);
    if (const NcclComm* comm = comm_of_thread_[std::this_thread::get_id()]; comm) stuck = comm->stuck;
  }
  if (stuck) {
    if (stuck->reached && !stuck->never_comes) RETURN_IF_ERROR(stuck->reached->synchronize());
    return false;
  }
  RETURN_IF_ERROR(event.synchronize());
  return true;
}

}  // namespace freshet::worker
