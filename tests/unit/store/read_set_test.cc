// What a read set covers, and what a scope adds to it.
#include "daemon/store/read_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "daemon/store/memory_kv.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"

namespace freshet {
namespace {

TEST(ReadSet, CoversItsKeysAndWhatLiesUnderItsPrefixes) {
  ReadSet reads;
  reads.add_key("run/p/1");
  reads.add_prefix("entry/p/a/");
  reads.add_prefix("node");
  EXPECT_TRUE(reads.covers("run/p/1"));
  EXPECT_TRUE(reads.covers("entry/p/a/b/c"));
  EXPECT_TRUE(reads.covers("node/1"));
  EXPECT_FALSE(reads.covers("run/p/10"));
  EXPECT_FALSE(reads.covers("run/p"));
  EXPECT_FALSE(reads.covers("entry/p/ab/c"));
  EXPECT_FALSE(ReadSet().covers("run/p/1"));
  reads.add_prefix("");
  EXPECT_TRUE(reads.covers("anything"));
}

class ReadScopeTest : public testing::Test {
 protected:
  SystemClock clock_;
  MemoryKv kv_;
  Writer store_{kv_, clock_};
};

TEST_F(ReadScopeTest, AddsReadsAndWhatAChangeDependsOn) {
  ReadSet reads;
  {
    ReadScope scope(&reads);
    auto snapshot = store_.snapshot();
    ASSERT_TRUE(snapshot->get("a/1").is_ok());
    ASSERT_TRUE(snapshot->scan("b/").is_ok());
    Change change;
    change.writes.push_back({"c/1", "written"});
    expect_absent(change, "d/1");
    ASSERT_TRUE(store_.commit(std::move(change)).is_ok());
    ReadScope inner(nullptr);
    ASSERT_TRUE(snapshot->get("e/1").is_ok());
  }
  ASSERT_TRUE(store_.snapshot()->get("f/1").is_ok());
  for (const char* read : {"a/1", "b/1", "d/1"}) EXPECT_TRUE(reads.covers(read)) << read;
  for (const char* other : {"a/2", "c/1", "e/1", "f/1"}) EXPECT_FALSE(reads.covers(other)) << other;
}

TEST_F(ReadScopeTest, IsOfOneThread) {
  ReadSet reads;
  ReadScope scope(&reads);
  std::thread([&] { EXPECT_TRUE(store_.snapshot()->get("a/1").is_ok()); }).join();
  EXPECT_FALSE(reads.covers("a/1"));
}

// A write that failed may be on the disk all the same.
TEST_F(ReadScopeTest, WhoeverWatchesHearsOfEveryBatchAlsoOfOneThatFailed) {
  std::vector<std::string> heard;
  store_.on_written([&](const auto& keys) { heard.insert(heard.end(), keys.begin(), keys.end()); });
  auto write = [&](const std::string& key) {
    Change change;
    change.audited = false;
    change.writes.push_back({key, "written"});
    return store_.commit(std::move(change)).status();
  };
  ASSERT_TRUE(write("a/1").is_ok());
  EXPECT_EQ(std::count(heard.begin(), heard.end(), "a/1"), 1);
  kv_.fail_writes(unavailable("Input/output error"));
  ASSERT_FALSE(write("a/2").is_ok());
  EXPECT_EQ(std::count(heard.begin(), heard.end(), "a/2"), 1);
}

}  // namespace
}  // namespace freshet
