#include "scheduler/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace freshet::scheduler {
namespace {

using testing::ElementsAre;

v1::EntryRecord entry(const std::string& uri, uint64_t rows = 10, std::string sha256 = "", uint64_t order = 1) {
  v1::EntryRecord record;
  record.mutable_entry()->set_uri(uri);
  record.mutable_entry()->set_sha256(sha256.empty() ? "sha of " + uri : sha256);
  record.mutable_profile()->set_rows(rows);
  record.set_order(order);
  return record;
}

v1::InputSpec input(uint32_t holdout, uint32_t window = 0) {
  v1::InputSpec spec;
  spec.set_name("flights");
  spec.set_holdout_newest_entries(holdout);
  spec.set_window_newest_entries(window);
  return spec;
}

std::vector<std::string> uris(const Split& split) {
  std::vector<std::string> result;
  for (const auto& e : split.entries) result.push_back(e.uri());
  return result;
}

TEST(Split, HoldsOutTheNewestByUriWhateverTheOrderOfArrival) {
  auto split = split_entries(input(2), {entry("d3"), entry("d1", 5), entry("d4"), entry("d2")});
  ASSERT_TRUE(split.is_ok());
  EXPECT_THAT(uris(*split), ElementsAre("d1", "d2", "d3", "d4"));
  EXPECT_THAT(split->holdout, ElementsAre("d3", "d4"));
  EXPECT_EQ(split->rows, 35U);
}

TEST(Split, TrainsOnTheWindowBeforeTheHoldout) {
  auto split = split_entries(input(1, 2), {entry("d1", 1), entry("d2", 2), entry("d3", 4), entry("d4", 8)});
  ASSERT_TRUE(split.is_ok());
  EXPECT_THAT(uris(*split), ElementsAre("d2", "d3", "d4"));
  EXPECT_THAT(split->holdout, ElementsAre("d4"));
  EXPECT_EQ(split->rows, 14U);
  EXPECT_THAT(uris(*split_entries(input(1, 9), {entry("d1"), entry("d2")})), ElementsAre("d1", "d2"));
}

TEST(Split, HoldsOutAtLeastOne) {
  auto split = split_entries(input(0), {entry("d1"), entry("d2")});
  ASSERT_TRUE(split.is_ok());
  EXPECT_THAT(split->holdout, ElementsAre("d2"));
}

TEST(Split, NeedsSomethingToTrainOn) {
  auto split = split_entries(input(2), {entry("d1"), entry("d2")});
  ASSERT_FALSE(split.is_ok());
  EXPECT_EQ(split.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(split.status().message(),
            "input flights has 2 accepted entries; at least 3 are needed, as the newest 2 are held out for evaluation");
  EXPECT_EQ(split_entries(input(1), {entry("d1")}).status().message(),
            "input flights has 1 accepted entry; at least 2 are needed, as the newest 1 is held out for evaluation");
  EXPECT_EQ(split_entries(input(1), {}).status().message(),
            "input flights has 0 accepted entries; at least 2 are needed, as the newest 1 is held out for evaluation");
}

TEST(Split, AReplacedUriCountsOnceWithItsNewestContent) {
  auto split = split_entries(input(1), {entry("d1", 1, "old", 3), entry("d1", 2, "new", 7), entry("d2")});
  ASSERT_TRUE(split.is_ok());
  ASSERT_EQ(split->entries.size(), 2U);
  EXPECT_EQ(split->entries[0].sha256(), "new");
  EXPECT_EQ(split->rows, 12U);
}

TEST(Split, TheSameContentIsNeverInBothParts) {
  auto split = split_entries(input(1), {entry("d1", 1, "same"), entry("d2"), entry("d3", 1, "same")});
  ASSERT_TRUE(split.is_ok());
  EXPECT_THAT(uris(*split), ElementsAre("d1", "d2"));
  EXPECT_THAT(split->holdout, ElementsAre("d2"));
  // A superseded content does not hide the same content elsewhere.
  split = split_entries(input(1), {entry("d1", 1, "x", 1), entry("d1", 1, "y", 2), entry("d2", 1, "x")});
  EXPECT_THAT(uris(*split), ElementsAre("d1", "d2"));
}

TEST(Split, TheOrderGivenDoesNotMatter) {
  constexpr uint64_t kSeed = 99;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  SeededRandom random(kSeed);
  std::vector<v1::EntryRecord> records;
  for (int i = 0; i < 20; ++i) {
    records.push_back(entry("d" + std::to_string(random.next() % 15), 1, "c" + std::to_string(random.next() % 12),
                            static_cast<uint64_t>(i)));
  }
  auto first = split_entries(input(3, 4), records);
  ASSERT_TRUE(first.is_ok());
  for (int round = 0; round < 50; ++round) {
    for (size_t i = records.size(); i > 1; --i) std::swap(records[i - 1], records[random.next() % i]);
    auto again = split_entries(input(3, 4), records);
    ASSERT_EQ(uris(*again), uris(*first));
    ASSERT_EQ(again->holdout, first->holdout);
    for (size_t i = 0; i < first->entries.size(); ++i) {
      ASSERT_EQ(again->entries[i].sha256(), first->entries[i].sha256());
    }
  }
}

}  // namespace
}  // namespace freshet::scheduler
