#include "daemon/store/audit.h"

#include "base/random.h"
#include "base/sha256.h"
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
  EXPECT_EQ(status.message(), "the audit record of revision 2 (1970-01-01T00:00:01.000Z, , ) was changed");
}

TEST_F(Audit, missing_record_is_found) {
  for (int i = 0; i < 3; ++i) commit("a", std::to_string(i));
  std::string second = raw(keys::audit(2));
  set_raw(keys::audit(2), std::nullopt);
  EXPECT_THAT(verify().message(), testing::HasSubstr("of revision 2 is missing"));
  set_raw(keys::audit(2), second);
  must(verify());
  set_raw(keys::audit(3), std::nullopt);
  EXPECT_THAT(verify().message(),
              testing::HasSubstr("of revision 3 is missing: the log was cut off behind revision 2"));
}

TEST_F(Audit, record_under_another_number_is_found) {
  commit("a", "1");
  std::string first = raw(keys::audit(1));
  set_raw(keys::audit(1), std::nullopt);
  set_raw(keys::audit(9), first);
  EXPECT_THAT(verify().message(), testing::HasSubstr("is not in its place: the one of revision 1 lies there"));
}

TEST_F(Audit, record_behind_the_newest_is_found_also_when_the_log_goes_on) {
  for (int i = 0; i < 2; ++i) commit("a", std::to_string(i));
  v1::StoredRecord envelope;
  must(parse("", raw(keys::audit(2)), envelope));
  v1::AuditRecord record;
  must(parse("", envelope.payload(), record));
  record.set_previous_digest(Sha256::hex_of(envelope.payload()));
  record.set_previous_revision(2);
  record.set_revision(50);
  envelope.set_revision(50);
  envelope.set_payload(serialize(record));
  set_raw(keys::audit(50), serialize(envelope));
  EXPECT_THAT(verify().message(), testing::HasSubstr("of revision 50"));
  commit("a", "2");
  EXPECT_THAT(verify().message(), testing::HasSubstr("of revision 50"));
  EXPECT_THAT(verify().message(), testing::HasSubstr("was added: the newest is of revision 3"));
}

TEST_F(Audit, kept_head_shows_a_log_that_was_cut_off_as_a_whole) {
  for (int i = 0; i < 3; ++i) commit("a", std::to_string(i));
  const v1::AuditHead head = must(audit_head(*store_.snapshot()));
  EXPECT_EQ(head.revision(), 3u);
  const std::string last = raw(keys::last_commit());
  commit("a", "more");
  must(verify_audit(*store_.snapshot(), {head}));
  const v1::AuditHead later = must(audit_head(*store_.snapshot()));
  // Back to where it was, with the writer's own record.
  set_raw(keys::audit(4), std::nullopt);
  set_raw(keys::last_commit(), last);
  must(verify());
  must(verify_audit(*store_.snapshot(), {head}));
  EXPECT_THAT(verify_audit(*store_.snapshot(), {head, later}).message(),
              testing::HasSubstr("revision 4 is missing: a head of it was kept, and the log ends with revision 3"));
}

TEST_F(Audit, a_page_goes_on_where_the_last_one_ended) {
  for (int i = 0; i < 25; ++i) commit("a", std::to_string(i));
  AuditPosition position;
  uint64_t checked = 0;
  int pages = 0;
  for (bool is_done = false; !is_done; ++pages) {
    AuditPage page = must(check_audit(*store_.snapshot(), position, 10, {}));
    ASSERT_FALSE(page.problem);
    checked += page.checked;
    position = page.position;
    is_done = page.is_done;
  }
  EXPECT_EQ(checked, 25u);
  EXPECT_EQ(pages, 3);
}

TEST_F(Audit, each_change_says_what_it_replaced) {
  commit("a", "1");
  commit("b", "1");
  commit("a", "2");
  commit("a", std::nullopt);
  auto records = must(list<v1::AuditRecord>(*store_.snapshot(), keys::audits()));
  std::vector<uint64_t> replaced;
  for (const auto& record : records) replaced.push_back(record.value.changes(0).replaced_revision());
  EXPECT_THAT(replaced, testing::ElementsAre(0, 0, 1, 3));
}

}  // namespace
}  // namespace freshet
