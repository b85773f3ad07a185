// Several threads commit through the writer; the store is closed and opened again and again, so that there are
// flushes, compactions and new logs between the commits.
#include <map>
#include <set>
#include <thread>

#include "base/random.h"
#include "daemon/store/audit.h"
#include "daemon/store/keys.h"
#include "daemon/store/rocks_kv.h"
#include "daemon/store/writer.h"
#include "tests/power/workload.h"

namespace freshet::power {
namespace {

constexpr int kThreads = 4;
constexpr int kOpenings = 6;
constexpr int kCommits = 8;  // of a thread, between two openings

std::string key(char kind, int thread, uint64_t number) {
  return std::string(1, kind) + "/" + std::to_string(thread) + "/" + std::to_string(number);
}

// Some are larger than a block of RocksDB's log.
std::string value_of(int thread, uint64_t number) {
  const Philox sizes(7, static_cast<uint64_t>(thread));
  const uint64_t size = sizes.below(number, 16) == 0 ? 40'000 : sizes.below(number, 1500);
  return payload_of("store " + std::to_string(thread), number, size);
}

// Change `number` of a thread: two records with the same bytes, one that takes the place of its forerunner, and how far
// the thread has come.
Change change_of(int thread, uint64_t number) {
  Change change;
  change.actor = "thread-" + std::to_string(thread);
  change.action = "write";
  change.reason = std::to_string(number);
  change.writes.push_back({key('a', thread, number), value_of(thread, number)});
  change.writes.push_back({key('b', thread, number), value_of(thread, number)});
  if (number > 1) change.writes.push_back({key('c', thread, number - 1), std::nullopt});
  change.writes.push_back({key('c', thread, number), "x"});
  change.writes.push_back({key('n', thread, 0), std::to_string(number)});
  return change;
}

struct OpenStore {
  std::unique_ptr<RocksKv> kv;
  SystemClock clock;
  std::unique_ptr<Writer> writer;
};

Result<std::unique_ptr<OpenStore>> open_store(const std::filesystem::path& root) {
  auto store = std::make_unique<OpenStore>();
  ASSIGN_OR_RETURN(store->kv, RocksKv::open({.data_directory = root / "data", .ballast_bytes = 0}));
  store->writer = std::make_unique<Writer>(*store->kv, store->clock);
  return store;
}

// How far the thread has come, after a look at all that it must have left.
Result<uint64_t> check_thread(const Snapshot& snapshot, int thread) {
  ASSIGN_OR_RETURN(auto counter, snapshot.get(key('n', thread, 0)));
  const uint64_t last = counter ? std::stoull(counter->payload) : 0;
  for (char kind : {'a', 'b', 'c'}) {
    ASSIGN_OR_RETURN(auto records, snapshot.scan(std::string(1, kind) + "/" + std::to_string(thread) + "/"));
    const uint64_t expected = kind == 'c' ? (last > 0 ? 1 : 0) : last;
    if (records.size() == expected) continue;
    return corrupt("half a change: thread " + std::to_string(thread) + " has come to " + std::to_string(last) +
                   " and has " + std::to_string(records.size()) + " records " + kind);
  }
  for (uint64_t number = 1; number <= last; ++number) {
    for (char kind : {'a', 'b'}) {
      ASSIGN_OR_RETURN(auto record, snapshot.get(key(kind, thread, number)));
      if (!record || record->payload != value_of(thread, number)) {
        return corrupt("half a change: " + key(kind, thread, number) + " is not what was written");
      }
    }
  }
  return last;
}

Status check_replay(const Snapshot& snapshot) {
  ASSIGN_OR_RETURN(auto replayed, replay_audit(snapshot));
  ASSIGN_OR_RETURN(auto all, snapshot.scan(""));
  size_t stored = 0;
  for (const KeyValue& item : all) {
    if (keys::is_reserved(item.key) || item.key.starts_with("metric/")) continue;
    ++stored;
    auto found = replayed.find(item.key);
    if (found == replayed.end() || found->second.payload != item.value.payload ||
        found->second.revision != item.value.revision) {
      return corrupt("the audit log replays to something else than " + item.key);
    }
  }
  if (stored == replayed.size()) return Status::ok();
  return corrupt("the audit log replays to " + std::to_string(replayed.size()) + " records; there are " +
                 std::to_string(stored));
}

class StoreWorkload final : public Workload {
 public:
  Status record(const std::filesystem::path& root, uint64_t) override {
    for (int opening = 0; opening < kOpenings; ++opening) {
      ASSIGN_OR_RETURN(auto store, open_store(root));
      std::vector<Status> results(kThreads);
      std::vector<std::thread> threads;
      for (int thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back(
            [&, thread] { results[static_cast<size_t>(thread)] = commit_some(*store->writer, thread, opening); });
      }
      for (std::thread& thread : threads) thread.join();
      for (const Status& result : results) RETURN_IF_ERROR(result);
    }
    return Status::ok();
  }

  Status check(const std::filesystem::path& root, const std::vector<std::string>& acknowledged) override {
    ASSIGN_OR_RETURN(auto store, open_store(root));
    auto snapshot = store->writer->snapshot();
    RETURN_IF_ERROR(verify_audit(*snapshot));
    std::vector<uint64_t> come_to;
    for (int thread = 0; thread < kThreads; ++thread) {
      ASSIGN_OR_RETURN(uint64_t last, check_thread(*snapshot, thread));
      come_to.push_back(last);
    }
    for (const auto& words : acknowledged_as(acknowledged, "committed")) {
      const auto thread = std::stoul(words[0]);
      if (come_to[thread] < std::stoull(words[1])) {
        return corrupt("lost: commit " + words[1] + " of thread " + words[0] + ", revision " + words[2]);
      }
      if (snapshot->revision() < std::stoull(words[2])) return corrupt("the revision went back behind " + words[2]);
    }
    for (const auto& words : acknowledged_as(acknowledged, "metric")) {
      ASSIGN_OR_RETURN(auto record, snapshot->get("metric/" + words[0]));
      if (!record) return corrupt("lost: metric " + words[0]);
    }
    RETURN_IF_ERROR(check_replay(*snapshot));
    const Revision before = snapshot->revision();
    ASSIGN_OR_RETURN(Committed committed, store->writer->commit(change_of(0, come_to[0] + 1)));
    if (committed.revision <= before) return corrupt("the next commit has an old revision");
    return verify_audit(*store->writer->snapshot());
  }

 private:
  static Status commit_some(Writer& writer, int thread, int opening) {
    for (int i = 1; i <= kCommits; ++i) {
      const auto number = static_cast<uint64_t>(opening * kCommits + i);
      ASSIGN_OR_RETURN(Committed committed, writer.commit(change_of(thread, number)));
      acknowledge("committed " + std::to_string(thread) + " " + std::to_string(number) + " " +
                  std::to_string(committed.revision));
      if (thread != 0) continue;
      Change metric;
      metric.audited = false;
      metric.writes.push_back({"metric/" + std::to_string(number), "1"});
      RETURN_IF_ERROR(writer.commit(std::move(metric)).status());
      acknowledge("metric " + std::to_string(number));
    }
    return Status::ok();
  }
};

}  // namespace

std::unique_ptr<Workload> make_store_workload() { return std::make_unique<StoreWorkload>(); }

}  // namespace freshet::power
