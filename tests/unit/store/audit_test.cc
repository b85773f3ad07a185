#include "daemon/store/audit.h"

#include "base/random.h"
#include "daemon/store/keys.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"
#include "proto/record.pb.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

class Audit : public testing::Test {
 protected:
  void commit(const std::string& key, std::optional<std::string> payload, bool audited = true) {
    Change change;
    change.audited = audited;
    change.writes.push_back({key, std::move(payload)});
    must(store_.commit(std::move(change)));
  }

  std::string raw(const std::string& key) { return must(kv_.snapshot()->get(key)).value(); }
  void set_raw(const std::string& key, std::optional<std::string> value) { must(kv_.write({{key, std::move(value)}})); }
  Status verify() { return verify_audit(*store_.snapshot()); }

  MemoryKv kv_;
  HandClock clock_;
  Writer store_{kv_, clock_};
};

TEST_F(Audit, empty_log_verifies) { must(verify()); }

TEST_F(Audit, replay_gives_the_state) {
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  SeededRandom random(kSeed);
  for (int i = 0; i < 2500; ++i) {
    clock_.now_us += static_cast<int64_t>(random.next() % 1000);
    std::string key = "k/" + std::to_string(random.next() % 50);
    if (random.next() % 4 == 0) {
      commit(key, std::nullopt);
    } else if (random.next() % 10 == 0) {
      commit("metric/" + std::to_string(i), "x", false);
    } else {
      commit(key, std::to_string(random.next()));
    }
  }
  auto snapshot = store_.snapshot();
  must(verify_audit(*snapshot));
  auto replayed = must(replay_audit(*snapshot));
  auto stored = must(snapshot->scan("k/"));
  ASSERT_EQ(replayed.size(), stored.size());
  for (const KeyValue& item : stored) {
    const StoredValue& value = replayed.at(item.key);
    EXPECT_EQ(value.payload, item.value.payload);
    EXPECT_EQ(value.revision, item.value.revision);
    EXPECT_EQ(value.commit_time, item.value.commit_time);
  }
}

TEST_F(Audit, changed_record_is_found) {
  for (int i = 0; i < 3; ++i) commit("a", std::to_string(i));
  v1::StoredRecord envelope;
  must(parse("", raw(keys::audit(2)), envelope));
  v1::AuditRecord record;
  must(parse("", envelope.payload(), record));
  record.mutable_changes(0)->set_value("forged");
  envelope.set_payload(serialize(record));
  set_raw(keys::audit(2), serialize(envelope));
  Status status = verify();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_THAT(status.message(), testing::HasSubstr("broken before audit/0000000000000003"));
}

TEST_F(Audit, missing_record_is_found) {
  for (int i = 0; i < 3; ++i) commit("a", std::to_string(i));
  std::string second = raw(keys::audit(2));
  set_raw(keys::audit(2), std::nullopt);
  EXPECT_THAT(verify().message(), testing::HasSubstr("broken before audit/0000000000000003"));
  set_raw(keys::audit(2), second);
  must(verify());
  set_raw(keys::audit(3), std::nullopt);
  EXPECT_THAT(verify().message(), testing::HasSubstr("does not end with the writer's last record"));
}

TEST_F(Audit, record_under_another_number_is_found) {
  commit("a", "1");
  std::string first = raw(keys::audit(1));
  set_raw(keys::audit(1), std::nullopt);
  set_raw(keys::audit(9), first);
  EXPECT_THAT(verify().message(), testing::HasSubstr("audit/0000000000000009 says that it is revision 1"));
}

}  // namespace
}  // namespace freshet
