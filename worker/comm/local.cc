#include "worker/comm/local.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/file.h"

namespace freshet::worker {
namespace {

constexpr size_t kQueueBytes = size_t{1} << 18;
constexpr size_t kMessageBytes = 1024;
constexpr int kLostPeer = 2;  // exit code of a rank whose error is another rank's end

// One writer, one reader. `head` and `tail` only grow.
struct Queue {
  alignas(64) std::atomic<uint64_t> head{0};  // bytes written
  alignas(64) std::atomic<uint64_t> tail{0};  // bytes read
  alignas(64) std::byte data[kQueueBytes];
};

struct RankSlot {
  alignas(64) std::atomic<uint32_t> bell{0};
  std::atomic<uint32_t> ended{0};
  int32_t code = 0;
  char message[kMessageBytes] = {};
};

class Segment {
 public:
  static Result<Segment> create(int ranks) {
    auto n = static_cast<size_t>(ranks);
    size_t bytes = n * sizeof(RankSlot) + n * n * sizeof(Queue);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return errno_status("mmap of the ranks' shared memory", errno);
    return Segment(memory, bytes, n);
  }
  ~Segment() {
    if (memory_) munmap(memory_, bytes_);
  }
  Segment(Segment&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        bytes_(other.bytes_),
        ranks_(other.ranks_),
        slots(other.slots),
        queues(other.queues) {}
  Segment& operator=(Segment&&) = delete;

  size_t ranks() const { return ranks_; }
  Queue& queue(size_t from, size_t to) const { return queues[from * ranks_ + to]; }

  void ring(size_t rank) const {
    slots[rank].bell.fetch_add(1, std::memory_order_seq_cst);
    syscall(SYS_futex, &slots[rank].bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  // Wakes all who wait for this rank, now and later.
  void end(size_t rank) const {
    slots[rank].ended.store(1);
    for (size_t r = 0; r < ranks_; ++r) ring(r);
  }

 private:
  Segment(void* memory, size_t bytes, size_t ranks) : memory_(memory), bytes_(bytes), ranks_(ranks) {
    auto* at = static_cast<std::byte*>(memory);
    slots = reinterpret_cast<RankSlot*>(at);
    for (size_t r = 0; r < ranks; ++r) new (&slots[r]) RankSlot();
    queues = reinterpret_cast<Queue*>(at + ranks * sizeof(RankSlot));
    for (size_t q = 0; q < ranks * ranks; ++q) {
      // Fresh zero pages are a valid empty queue: only the counters are made, so that memory is touched as it is used.
      new (&queues[q].head) std::atomic<uint64_t>(0);
      new (&queues[q].tail) std::atomic<uint64_t>(0);
    }
  }
  void* memory_;
  size_t bytes_;
  size_t ranks_;

 public:
  RankSlot* slots;
  Queue* queues;
};
class LocalCommunicator final : public Communicator {
 public:
  LocalCommunicator(const Segment& segment, int rank) : segment_(segment), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(segment_.ranks()); }

  Status exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming) override {
    size_t ranks = segment_.ranks();
    auto me = static_cast<size_t>(rank_);
    CHECK(outgoing.size() == ranks && incoming.size() == ranks);
    std::vector<size_t> sent(ranks), received(ranks);
    while (true) {
      // Read before looking at the queues: a ring after this makes the wait below return at once.
      uint32_t bell = segment_.slots[me].bell.load();
      bool done = true, moved = false, lost = false;
      for (size_t peer = 0; peer < ranks; ++peer) {
        if (peer == me) continue;
        bool ended = segment_.slots[peer].ended.load() != 0;  // before its last bytes are looked for
        size_t out = write(segment_.queue(me, peer), outgoing[peer].subspan(sent[peer]));
        size_t in = read(segment_.queue(peer, me), incoming[peer].subspan(received[peer]));
        sent[peer] += out;
        received[peer] += in;
        if (out + in > 0) {
          moved = true;
          segment_.ring(peer);
        }
        bool pending = sent[peer] < outgoing[peer].size() || received[peer] < incoming[peer].size();
        done = done && !pending;
        lost = lost || (ended && pending);
      }
      if (done) return Status::ok();
      if (moved) continue;
      if (lost) {
        lost_peer_ = true;
        return unavailable("another rank of this gang has ended");
      }
      syscall(SYS_futex, &segment_.slots[me].bell, FUTEX_WAIT, bell, nullptr, nullptr, 0);
    }
  }

  bool lost_peer() const { return lost_peer_; }

 private:
  static size_t write(Queue& queue, Bytes bytes) {
    uint64_t head = queue.head.load(std::memory_order_relaxed);
    size_t room = kQueueBytes - static_cast<size_t>(head - queue.tail.load(std::memory_order_acquire));
    size_t count = std::min(room, bytes.size());
    if (count == 0) return 0;
    size_t at = head % kQueueBytes, first = std::min(count, kQueueBytes - at);
    std::memcpy(queue.data + at, bytes.data(), first);
    std::memcpy(queue.data, bytes.data() + first, count - first);
    queue.head.store(head + count, std::memory_order_release);
    return count;
  }
  static size_t read(Queue& queue, MutableBytes bytes) {
    uint64_t tail = queue.tail.load(std::memory_order_relaxed);
    size_t there = static_cast<size_t>(queue.head.load(std::memory_order_acquire) - tail);
    size_t count = std::min(there, bytes.size());
    if (count == 0) return 0;
    size_t at = tail % kQueueBytes, first = std::min(count, kQueueBytes - at);
    std::memcpy(bytes.data(), queue.data + at, first);
    std::memcpy(bytes.data() + first, queue.data, count - first);
    queue.tail.store(tail + count, std::memory_order_release);
    return count;
  }

  const Segment& segment_;
  int rank_;
  bool lost_peer_ = false;
};

struct Child {
  pid_t pid = 0;
  Fd pidfd;
};

[[noreturn]] void run_rank(const Segment& segment, int rank, const std::function<Status(Communicator&)>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  LocalCommunicator comm(segment, rank);
  Status status = body(comm);
  RankSlot& slot = segment.slots[rank];
  if (!status.is_ok()) {
    slot.code = static_cast<int32_t>(status.code());
    std::string text = status.message().substr(0, kMessageBytes - 1);
    std::memcpy(slot.message, text.data(), text.size());
  }
  segment.end(static_cast<size_t>(rank));
  _exit(status.is_ok() ? 0 : comm.lost_peer() ? kLostPeer : 1);
}

// How every rank ended, in rank order; tells the others of each. Waits for these processes only.
std::vector<int> wait_for_all(const Segment& segment, const std::vector<Child>& children) {
  std::vector<int> ends(children.size(), 0);
  std::vector<pollfd> waiting;
  for (const auto& child : children) waiting.push_back({child.pidfd.get(), POLLIN, 0});
  for (size_t left = children.size(); left > 0;) {
    if (poll(waiting.data(), waiting.size(), -1) < 0) {
      CHECK(errno == EINTR);
      continue;
    }
    for (size_t r = 0; r < children.size(); ++r) {
      if (waiting[r].revents == 0) continue;
      waiting[r].fd = -1;
      waiting[r].revents = 0;
      CHECK(waitpid(children[r].pid, &ends[r], 0) == children[r].pid);
      segment.end(r);
      --left;
    }
  }
  return ends;
}

}  // namespace

Status run_local_gang(int ranks, const std::function<Status(Communicator&)>& body) {
  CHECK(ranks >= 1);
  ASSIGN_OR_RETURN(Segment segment, Segment::create(ranks));
  std::vector<Child> children;
  Status started;
  for (int rank = 0; rank < ranks; ++rank) {
    pid_t pid = fork();
    if (pid == 0) run_rank(segment, rank, body);
    if (pid < 0) {
      started = errno_status("fork of rank " + std::to_string(rank), errno);
      for (int missing = rank; missing < ranks; ++missing) segment.end(static_cast<size_t>(missing));
      break;
    }
    int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    CHECK(pidfd >= 0);
    children.push_back({pid, Fd(pidfd)});
  }
  std::vector<int> ends = wait_for_all(segment, children);
  RETURN_IF_ERROR(started);
  Status lost;
  for (size_t r = 0; r < ends.size(); ++r) {
    if (ends[r] == 0) continue;
    std::string who = "rank " + std::to_string(r) + ": ";
    if (WIFSIGNALED(ends[r])) return unavailable(who + "ended by signal " + std::to_string(WTERMSIG(ends[r])));
    const RankSlot& slot = segment.slots[r];
    if (slot.code == 0) return unavailable(who + "exited with code " + std::to_string(WEXITSTATUS(ends[r])));
    Status status(static_cast<Code>(slot.code), who + slot.message);
    if (WEXITSTATUS(ends[r]) != kLostPeer) return status;
    if (lost.is_ok()) lost = status;
  }
  return lost;
}

}  // namespace freshet::worker
