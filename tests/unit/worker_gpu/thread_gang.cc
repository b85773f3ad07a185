#include "tests/unit/worker_gpu/thread_gang.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace freshet::worker {
namespace {

struct Mail {
  explicit Mail(size_t count) : ranks(count), queues(count * count), ended(count, false) {}
  std::deque<std::vector<std::byte>>& queue(size_t from, size_t to) { return queues[from * ranks + to]; }

  const size_t ranks;
  std::mutex mutex;
  std::condition_variable moved;
  std::vector<std::deque<std::vector<std::byte>>> queues;
  std::vector<bool> ended;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Mail* mail, int rank) : mail_(*mail), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(mail_.ranks); }
  bool lost_peer() const { return lost_peer_; }

  Status exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming) override {
    const auto me = static_cast<size_t>(rank_);
    std::unique_lock lock(mail_.mutex);
    for (size_t peer = 0; peer < mail_.ranks; ++peer) {
      if (peer == me || outgoing[peer].empty()) continue;
      mail_.queue(me, peer).emplace_back(outgoing[peer].begin(), outgoing[peer].end());
    }
    mail_.moved.notify_all();
    for (size_t peer = 0; peer < mail_.ranks; ++peer) {
      if (peer == me || incoming[peer].empty()) continue;
      auto& queue = mail_.queue(peer, me);
      mail_.moved.wait(lock, [&] { return !queue.empty() || mail_.ended[peer]; });
      if (queue.empty()) {
        lost_peer_ = true;
        return unavailable("another rank of this gang has ended");
      }
      if (queue.front().size() != incoming[peer].size()) return internal("two ranks disagree on a message's size");
      std::copy(queue.front().begin(), queue.front().end(), incoming[peer].begin());
      queue.pop_front();
    }
    return Status::ok();
  }

 private:
  Mail& mail_;
  const int rank_;
  bool lost_peer_ = false;
};

}  // namespace

Status run_thread_gang(int ranks, const std::function<Status(Communicator&)>& body) {
  const auto count = static_cast<size_t>(ranks);
  Mail mail(count);
  std::vector<Status> ends(count);
  std::vector<char> lost(count, 0);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator comm(&mail, static_cast<int>(rank));
      ends[rank] = body(comm);
      lost[rank] = comm.lost_peer() ? 1 : 0;
      std::lock_guard lock(mail.mutex);
      mail.ended[rank] = true;
      mail.moved.notify_all();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const char wanted : {char{0}, char{1}}) {  // a rank that lost a peer counts after one that failed by itself
    for (size_t rank = 0; rank < count; ++rank) {
      if (!ends[rank].is_ok() && lost[rank] == wanted) return ends[rank].with_context("rank " + std::to_string(rank));
    }
  }
  return Status::ok();
}

}  // namespace freshet::worker
