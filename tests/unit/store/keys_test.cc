#include "daemon/store/keys.h"

#include <gtest/gtest.h>

#include <set>

namespace freshet {
namespace {

v1::WorkRef step(const std::string& run, const std::string& name) {
  v1::WorkRef work;
  work.set_project("p");
  work.set_run_id(run);
  work.set_step(name);
  return work;
}

TEST(Keys, uri_stays_one_part) {
  EXPECT_EQ(keys::entry("p", "flights", "rows", "a/../b c.parquet", "00ff"),
            "entry/p/flights/rows/a%2F..%2Fb%20c.parquet/00ff");
  EXPECT_EQ(keys::unescape(keys::escape("a/%b\xff ")), "a/%b\xff ");
  EXPECT_EQ(keys::last_part(keys::node("n/1")), "n/1");
  EXPECT_EQ(keys::unescape("%4"), "%4");
  EXPECT_EQ(keys::unescape("%GG"), "%GG");
}

TEST(Keys, number_order_is_byte_order) {
  EXPECT_LT(keys::model_version("p", "m", 9), keys::model_version("p", "m", 10));
  EXPECT_LT(keys::audit(0xff), keys::audit(0x100));
  EXPECT_EQ(keys::audit(0x1f), "audit/000000000000001f");
  EXPECT_LT(keys::run_by_time("p", Time{999}, "f"), keys::run_by_time("p", Time{1000}, "a"));
  EXPECT_LT(keys::attempt(step("r", "train"), 9), keys::attempt(step("r", "train"), 10));
}

TEST(Keys, prefix_holds_its_own_and_nothing_else) {
  EXPECT_TRUE(keys::model("p", "m").starts_with(keys::models("p")));
  EXPECT_FALSE(keys::model("p", "m").starts_with(keys::models("")));
  EXPECT_FALSE(keys::model_version("p", "m", 1).starts_with(keys::models("p")));
  EXPECT_FALSE(keys::model_version("p", "mm", 1).starts_with(keys::model_versions("p", "m")));
  EXPECT_FALSE(keys::pipeline("p2", "m").starts_with(keys::pipelines("p")));
  EXPECT_TRUE(keys::pipeline("p2", "m").starts_with(keys::pipelines()));
  EXPECT_TRUE(keys::attempt(step("r", "train"), 1).starts_with(keys::attempts_of_run("p", "r")));
  EXPECT_TRUE(keys::active_attempt(step("r", "train"), 1).starts_with(keys::active_attempts()));
  EXPECT_TRUE(keys::alias_move("p", "m", "champion", 3).starts_with(keys::alias_moves("p", "m", "champion")));
  EXPECT_TRUE(keys::entry("p", "f", "rows", "u", "s").starts_with(keys::entries_of_uri("p", "f", "rows", "u")));
}

TEST(Keys, work_of_a_run_and_of_an_inspection) {
  EXPECT_EQ(keys::work(step("r", "train")), "p/run/r/train");
  v1::WorkRef work;
  work.set_project("p");
  work.set_inspection_id("i");
  EXPECT_EQ(keys::work(work), "p/inspection/i");
  EXPECT_EQ(keys::attempt(work, 2), "attempt/p/inspection/i/00000000000000000002");
}

TEST(Keys, ready_steps_lie_in_the_order_in_which_they_are_served) {
  auto key = [](int32_t priority, int64_t ready, const char* run) {
    return keys::ready_step(2, priority, Time{ready}, "p", run, "a/b");
  };
  EXPECT_LT(key(7, 9, "z"), key(6, 1, "a"));
  EXPECT_LT(key(0, 9, "z"), key(-1, 1, "a"));
  EXPECT_LT(key(0, 99, "z"), key(0, 100, "a"));
  EXPECT_LT(key(0, 99, "a"), key(0, 99, "b"));
  EXPECT_TRUE(key(0, 1, "a").starts_with(keys::ready_steps(2)));
  EXPECT_FALSE(key(0, 1, "a").starts_with(keys::ready_steps(20)));
  for (int32_t priority : {INT32_MIN, -1, 0, INT32_MAX}) {
    keys::ReadyStep parsed = keys::parse_ready_step(key(priority, 123456789, "r"));
    EXPECT_EQ(parsed.slots, 2u);
    EXPECT_EQ(parsed.priority, priority);
    EXPECT_EQ(parsed.ready.us, 123456789);
    EXPECT_EQ(parsed.step, "a/b");
  }
  EXPECT_EQ(keys::slots_of_lane(keys::ready_steps(17)), 17u);
}

TEST(Keys, what_is_counted_is_counted_under_its_prefix) {
  EXPECT_EQ(keys::counted_prefix(keys::run_by_state("p", "QUEUED", Time{5}, "r")), keys::runs_by_state("p", "QUEUED"));
  EXPECT_EQ(keys::counted_prefix(keys::ready_step(3, 0, Time{5}, "p", "r", "s")), keys::ready_steps(3));
  EXPECT_EQ(keys::counted_prefix(keys::run("p", "r")), "");
  EXPECT_EQ(keys::counted_prefix("run_by_state/p"), "");
  EXPECT_TRUE(keys::is_reserved(keys::count(keys::runs_by_state("p", "QUEUED"))));
}

TEST(Keys, only_the_writers_are_reserved) {
  EXPECT_TRUE(keys::is_reserved(keys::audit(1)));
  EXPECT_TRUE(keys::is_reserved(keys::last_commit()));
  EXPECT_FALSE(keys::is_reserved(keys::daemon_term()));
}

TEST(Keys, no_two_kinds_collide) {
  std::vector<std::string> all = {keys::pipeline("p", "a"),
                                  keys::pipeline_code("p", "a"),
                                  keys::pipeline_version("p", "a", 1),
                                  keys::source("p", "a"),
                                  keys::source_status("p", "a"),
                                  keys::trigger("p", "a"),
                                  keys::trigger_state("p", "a"),
                                  keys::dataset("p", "a"),
                                  keys::entry("p", "a", "i", "u", "s"),
                                  keys::inspection("p", "a"),
                                  keys::entry_counter("p", "a", "i"),
                                  keys::pending_inspection("p", "a"),
                                  keys::run("p", "a"),
                                  keys::run_by_time("p", Time{1}, "a"),
                                  keys::run_by_pipeline("p", "x", Time{1}, "a"),
                                  keys::due_run("p", "a"),
                                  keys::metric_chunk("p", "a", 1),
                                  keys::latest_metrics("p", "a"),
                                  keys::node("a"),
                                  keys::gang("a"),
                                  keys::artifact("a"),
                                  keys::model("p", "a"),
                                  keys::model_version("p", "a", 1),
                                  keys::alias("p", "a", "c"),
                                  keys::alias_move("p", "a", "c", 1),
                                  keys::kept_answer("p", "a"),
                                  keys::outbox_event(1, 2),
                                  keys::webhook("p", "a"),
                                  keys::webhook_state("p", "a"),
                                  keys::dead_letter("p", "a", "b"),
                                  keys::redelivery("p", "a", "b"),
                                  keys::answer_by_time(Time{1}, "p", "a"),
                                  keys::counter("a"),
                                  keys::daemon_term()};
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

}  // namespace
}  // namespace freshet
