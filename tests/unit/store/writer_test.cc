#include "daemon/store/writer.h"

#include <atomic>
#include <set>
#include <thread>

#include "daemon/store/audit.h"
#include "daemon/store/keys.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/rocks_kv.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

Change write(const std::string& key, const std::string& payload) {
  Change change;
  change.writes.push_back({key, payload});
  return change;
}

Change write_if(const std::string& key, Revision revision, const std::string& payload) {
  Change change = write(key, payload);
  expect(change, key, revision);
  return change;
}

class WriterTest : public testing::Test {
 protected:
  std::string payload(const std::string& key) const {
    auto value = must(store_.snapshot()->get(key));
    return value ? value->payload : "(none)";
  }

  MemoryKv kv_;
  HandClock clock_;
  Writer store_{kv_, clock_};
};

TEST_F(WriterTest, stamps_what_it_writes) {
  EXPECT_EQ(store_.snapshot()->revision(), 0u);
  Committed first = must(store_.commit(write("a", "1")));
  EXPECT_EQ(first.revision, 1u);
  EXPECT_EQ(first.commit_time.us, 1'000'000);
  auto snapshot = store_.snapshot();
  EXPECT_EQ(snapshot->revision(), 1u);
  auto value = must(snapshot->get("a"));
  ASSERT_TRUE(value);
  EXPECT_EQ(value->payload, "1");
  EXPECT_EQ(value->revision, 1u);
  EXPECT_EQ(value->commit_time, first.commit_time);
}

TEST_F(WriterTest, precondition_on_revision) {
  Revision revision = must(store_.commit(write_if("a", 0, "1"))).revision;
  EXPECT_EQ(store_.commit(write_if("a", 0, "2")).status().code(), Code::kConflict);
  EXPECT_EQ(payload("a"), "1");
  revision = must(store_.commit(write_if("a", revision, "2"))).revision;
  Status status = store_.commit(write_if("a", revision - 1, "3")).status();
  EXPECT_EQ(status.to_string(), "conflict: a is at revision 2, expected 1");
  EXPECT_EQ(store_.commit(write_if("b", 1, "3")).status().code(), Code::kConflict);
  EXPECT_EQ(store_.stats().conflicts, 3u);
  EXPECT_EQ(store_.snapshot()->revision(), 2u);
}

TEST_F(WriterTest, one_failed_precondition_refuses_the_whole_change) {
  must(store_.commit(write("a", "1")));
  Change change = write_if("a", 1, "2");
  change.writes.push_back({"b", "2"});
  expect_absent(change, "c");
  expect(change, "d", 7);
  EXPECT_EQ(store_.commit(change).status().code(), Code::kConflict);
  EXPECT_EQ(payload("a"), "1");
  EXPECT_EQ(payload("b"), "(none)");
}

TEST_F(WriterTest, deleted_and_made_again_is_another_record) {
  Revision old = must(store_.commit(write("a", "1"))).revision;
  Change gone;
  erase(gone, "a");
  must(store_.commit(gone));
  must(store_.commit(write_if("a", 0, "2")));
  EXPECT_EQ(store_.commit(write_if("a", old, "3")).status().code(), Code::kConflict);
}

TEST_F(WriterTest, unaudited_changes_are_seen_by_preconditions_but_not_by_the_audit) {
  must(store_.commit(write("a", "1")));
  Change beat = write("lease", "1");
  beat.audited = false;
  Revision first = must(store_.commit(beat)).revision;
  EXPECT_EQ(first, 2u);
  must(store_.commit(beat));
  Change late = write_if("lease", first, "2");
  late.audited = false;
  EXPECT_EQ(store_.commit(late).status().code(), Code::kConflict);
  must(store_.commit(write("a", "2")));
  auto snapshot = store_.snapshot();
  must(verify_audit(*snapshot));
  auto records = must(list<v1::AuditRecord>(*snapshot, keys::audits()));
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].value.revision(), 1u);
  EXPECT_EQ(records[1].value.revision(), 4u);
}

TEST_F(WriterTest, audit_record_says_who_what_and_why) {
  Change change = write("a", "1");
  change.actor = "admin";
  change.action = "apply pipeline";
  change.reason = "because";
  erase(change, "b");
  must(store_.commit(change));
  auto record = must(require<v1::AuditRecord>(*store_.snapshot(), keys::audit(1), "audit")).value;
  EXPECT_EQ(record.actor(), "admin");
  EXPECT_EQ(record.action(), "apply pipeline");
  EXPECT_EQ(record.reason(), "because");
  EXPECT_EQ(record.commit_us(), 1'000'000);
  ASSERT_EQ(record.changes_size(), 2);
  EXPECT_EQ(record.changes(0).key(), "a");
  EXPECT_EQ(record.changes(0).value(), "1");
  EXPECT_TRUE(record.changes(1).deleted());
}

TEST_F(WriterTest, commit_time_grows_when_the_clock_goes_back) {
  Time last = must(store_.commit(write("a", "1"))).commit_time;
  clock_.now_us = 5;
  for (int i = 0; i < 3; ++i) {
    Time time = must(store_.commit(write("a", "2"))).commit_time;
    EXPECT_EQ(time.us, last.us + 1);
    last = time;
  }
  clock_.now_us = 9'000'000;
  EXPECT_EQ(must(store_.commit(write("a", "3"))).commit_time.us, 9'000'000);
}

TEST_F(WriterTest, counts_the_keys_of_counted_prefixes) {
  const std::string queued = keys::runs_by_state("p", "QUEUED");
  auto key = [&](const std::string& id) { return keys::run_by_state("p", "QUEUED", Time{1}, id); };
  auto counted = [&] { return must(count(*store_.snapshot(), queued)); };
  EXPECT_EQ(counted(), 0u);
  Change change = write(key("a"), "1");
  put_reference(change, key("b"), "1");
  erase(change, key("b"));
  put_reference(change, key("b"), "2");
  put_reference(change, key("b"), "3");
  erase(change, key("never"));
  put_reference(change, "other", "1");
  must(store_.commit(change));
  EXPECT_EQ(counted(), 2u);
  must(store_.commit(write(key("b"), "again")));
  EXPECT_EQ(counted(), 2u);
  EXPECT_EQ(store_.commit(write_if(key("c"), 77, "refused")).status().code(), Code::kConflict);
  EXPECT_EQ(counted(), 2u);
  Change all;
  erase(all, key("a"));
  erase(all, key("b"));
  must(store_.commit(all));
  EXPECT_EQ(counted(), 0u);
  EXPECT_FALSE(must(store_.snapshot()->get(keys::count(queued)))) << "a count of none is no record";
}

TEST_F(WriterTest, refuses_changes_that_make_no_sense) {
  EXPECT_EQ(store_.commit(Change()).status().to_string(), "invalid_argument: a change without writes");
  EXPECT_EQ(store_.commit(write("", "1")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_.commit(write(keys::audit(1), "1")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_.commit(write(keys::last_commit(), "1")).status().code(), Code::kInvalidArgument);
}

TEST_F(WriterTest, failed_write_leaves_nothing_half_done) {
  must(store_.commit(write("a", "1")));
  kv_.fail_writes(resource_exhausted("the disk is full"));
  EXPECT_EQ(store_.commit(write_if("a", 1, "2")).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(store_.commit(write("b", "2")).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(payload("a"), "1");
  kv_.fail_writes(Status::ok());
  EXPECT_EQ(must(store_.commit(write_if("a", 1, "3"))).revision, 2u);
  must(verify_audit(*store_.snapshot()));
  EXPECT_EQ(store_.stats().failures, 2u);
}

TEST_F(WriterTest, unreadable_last_commit_stops_everything) {
  must(store_.commit(write("a", "1")));
  must(kv_.write({{keys::last_commit(), "\x0a\xff"}}));
  EXPECT_EQ(store_.snapshot()->get("a").status().code(), Code::kCorrupt);
  EXPECT_EQ(store_.commit(write("a", "2")).status().code(), Code::kCorrupt);
}

TEST_F(WriterTest, record_of_a_newer_format_is_named) {
  v1::StoredRecord future;
  future.set_format(2);
  must(kv_.write({{"a", serialize(future)}}));
  EXPECT_EQ(store_.snapshot()->get("a").status().to_string(),
            "corrupt: the record a has format 2; this freshetd reads format 1");
}

// A Kv whose writes wait, so that a group forms behind the first.
class GatedKv final : public Kv {
 public:
  std::unique_ptr<KvSnapshot> snapshot() const override { return inner_.snapshot(); }
  Status write(const std::vector<KvWrite>& batch) override {
    std::unique_lock lock(mutex_);
    ++entered_;
    moved_.notify_all();
    moved_.wait(lock, [&] { return open_; });
    return inner_.write(batch);
  }
  void wait_entered() {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return entered_ > 0; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    moved_.notify_all();
  }

 private:
  MemoryKv inner_;
  std::mutex mutex_;
  std::condition_variable moved_;
  int entered_ = 0;
  bool open_ = false;
};

TEST(WriterGroup, those_who_wait_share_one_batch_and_see_each_other) {
  GatedKv kv;
  HandClock clock;
  Writer store(kv, clock);
  std::thread leader([&] { must(store.commit(write("first", "1"))); });
  kv.wait_entered();
  constexpr int kRivals = 5;
  constexpr int kOthers = 10;
  std::atomic<int> won{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kRivals; ++i) {
    threads.emplace_back([&, i] {
      if (store.commit(write_if("prize", 0, std::to_string(i))).is_ok()) ++won;
    });
  }
  for (int i = 0; i < kOthers; ++i) {
    threads.emplace_back([&, i] { must(store.commit(write("own/" + std::to_string(i), "1"))); });
  }
  while (store.waiting() < 1 + kRivals + kOthers) std::this_thread::yield();
  kv.open();
  leader.join();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
  WriterStats stats = store.stats();
  EXPECT_EQ(stats.batches, 2u);
  EXPECT_EQ(stats.commits, 2u + kOthers);
  EXPECT_EQ(stats.conflicts, kRivals - 1u);
  auto snapshot = store.snapshot();
  EXPECT_EQ(snapshot->revision(), 2u + kOthers);
  EXPECT_EQ(must(snapshot->scan("own/")).size(), static_cast<size_t>(kOthers));
  must(verify_audit(*snapshot));
}

// 16 threads raise one counter by compare-and-swap and write keys of their own: nothing is lost, every revision is
// given once, and the audit log replays to the state.
TEST(WriterGroup, one_batch_counts_all_its_changes) {
  MemoryKv kv;
  HandClock clock;
  Writer store(kv, clock);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string id = std::to_string(t) + "-" + std::to_string(i);
        must(store.commit(write(keys::run_by_state("p", "QUEUED", Time{1}, id), "x")).status());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(must(count(*store.snapshot(), keys::runs_by_state("p", "QUEUED"))), 400u);
}

TEST(WriterGroup, many_threads_lose_nothing_and_keep_order) {
  TempDir directory;
  std::unique_ptr<RocksKv> kv = must(RocksKv::open({.data_directory = directory.path(), .ballast_bytes = 0}));
  SystemClock clock;
  Writer store(*kv, clock);
  constexpr int kThreads = 16;
  constexpr int kEach = 40;
  std::mutex mutex;
  std::set<Revision> revisions;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Revision before = 0;
      for (int i = 0; i < kEach; ++i) {
        for (;;) {
          auto stored = must(store.snapshot()->get("counter"));
          Change change = write_if("counter", stored ? stored->revision : 0,
                                   std::to_string((stored ? std::stoi(stored->payload) : 0) + 1));
          change.writes.push_back({"own/" + std::to_string(t) + "/" + std::to_string(i), "x"});
          Result<Committed> committed = store.commit(std::move(change));
          if (!committed.is_ok() && committed.status().code() == Code::kConflict) continue;
          Revision revision = must(committed).revision;
          EXPECT_GT(revision, before);
          before = revision;
          std::lock_guard lock(mutex);
          EXPECT_TRUE(revisions.insert(revision).second);
          break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  auto snapshot = store.snapshot();
  EXPECT_EQ(must(snapshot->get("counter"))->payload, std::to_string(kThreads * kEach));
  EXPECT_EQ(must(snapshot->scan("own/")).size(), static_cast<size_t>(kThreads * kEach));
  EXPECT_EQ(*revisions.rbegin(), static_cast<Revision>(kThreads * kEach));
  must(verify_audit(*snapshot));
}

}  // namespace
}  // namespace freshet
