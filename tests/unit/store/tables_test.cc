#include "daemon/store/tables.h"

#include "daemon/store/keys.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/writer.h"
#include "proto/record.pb.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

class Tables : public testing::Test {
 protected:
  static v1::NodeRecord node(const std::string& name, uint32_t slots) {
    v1::NodeRecord record;
    record.set_name(name);
    record.set_slots(slots);
    return record;
  }

  MemoryKv kv_;
  HandClock clock_;
  Writer store_{kv_, clock_};
};

TEST_F(Tables, created_record_is_read_with_its_revision) {
  Change change;
  create(change, keys::node("a"), node("a", 4));
  Committed committed = must(store_.commit(change));
  auto record = must(require<v1::NodeRecord>(*store_.snapshot(), keys::node("a"), "node a"));
  EXPECT_EQ(record.value.slots(), 4u);
  EXPECT_EQ(record.key, keys::node("a"));
  EXPECT_EQ(record.revision, committed.revision);
  EXPECT_EQ(record.commit_time, committed.commit_time);
  EXPECT_EQ(store_.commit(change).status().code(), Code::kConflict);
}

TEST_F(Tables, update_of_a_record_that_has_changed_is_refused) {
  Change first;
  create(first, keys::node("a"), node("a", 4));
  must(store_.commit(first));
  auto mine = must(require<v1::NodeRecord>(*store_.snapshot(), keys::node("a"), "node a"));
  auto theirs = mine;
  theirs.value.set_slots(8);
  Change change;
  update(change, theirs);
  must(store_.commit(change));
  mine.value.set_slots(2);
  Change late;
  update(late, mine);
  EXPECT_EQ(store_.commit(late).status().code(), Code::kConflict);
  EXPECT_EQ(must(require<v1::NodeRecord>(*store_.snapshot(), keys::node("a"), "node a")).value.slots(), 8u);
}

TEST_F(Tables, missing_record) {
  auto snapshot = store_.snapshot();
  EXPECT_EQ(must(get<v1::NodeRecord>(*snapshot, keys::node("a"))), std::nullopt);
  Status status = require<v1::NodeRecord>(*snapshot, keys::node("a"), "node a").status();
  EXPECT_EQ(status.to_string(), "not_found: node a does not exist");
}

TEST_F(Tables, lists_page_by_page) {
  Change change;
  for (const char* name : {"a", "b", "c"}) put(change, keys::node(name), node(name, 1));
  must(store_.commit(change));
  auto snapshot = store_.snapshot();
  auto page = must(list<v1::NodeRecord>(*snapshot, keys::nodes(), "", 2));
  ASSERT_EQ(page.size(), 2u);
  EXPECT_EQ(page[1].value.name(), "b");
  page = must(list<v1::NodeRecord>(*snapshot, keys::nodes(), page[1].key, 2));
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0].value.name(), "c");
  page = must(list<v1::NodeRecord>(*snapshot, keys::nodes(), "", 1, true));
  EXPECT_EQ(page.at(0).value.name(), "c");
}

TEST_F(Tables, index_leads_to_its_records) {
  Change change;
  put(change, keys::node("a"), node("a", 1));
  put_reference(change, keys::gang("g1"), keys::node("a"));
  must(store_.commit(change));
  auto snapshot = store_.snapshot();
  EXPECT_EQ(must(get_reference(*snapshot, keys::gang("g1")))->target, keys::node("a"));
  EXPECT_EQ(must(get_reference(*snapshot, keys::gang("g2"))), std::nullopt);
  EXPECT_EQ(must(list_referenced<v1::NodeRecord>(*snapshot, keys::gangs())).at(0).value.name(), "a");
  Change broken;
  erase(broken, keys::node("a"));
  must(store_.commit(broken));
  EXPECT_EQ(list_referenced<v1::NodeRecord>(*store_.snapshot(), keys::gangs()).status().code(), Code::kCorrupt);
}

TEST_F(Tables, bytes_of_another_kind_are_corrupt) {
  Change change;
  change.writes.push_back({keys::node("a"), "\x0a\xff"});
  must(store_.commit(change));
  Status status = get<v1::NodeRecord>(*store_.snapshot(), keys::node("a")).status();
  EXPECT_EQ(status.to_string(), "corrupt: the record node/a is not a freshet.v1.NodeRecord");
}

}  // namespace
}  // namespace freshet
