#include "daemon/sources/fake_source_hub.h"

#include "tests/unit/sources/support.h"

namespace freshet {
namespace {

using testing::ElementsAre;

class FakeHub : public testing::Test {
 protected:
  void SetUp() override {
    hub_.set_wake([this] { ++wakes_; });
    v1::Source source;
    source.mutable_metadata()->set_project("p");
    source.mutable_metadata()->set_name("s");
    hub_.set_sources({source});
  }

  FakeSourceHub hub_;
  int wakes_ = 0;
};

TEST_F(FakeHub, shows_what_the_test_sets) {
  EXPECT_TRUE(hub_.observe("p", "s").known);
  EXPECT_FALSE(hub_.observe("p", "other").known);
  hub_.add_file("p", "s", {"b", 1, "sha-b", Time{2}});
  hub_.add_file("p", "s", {"a", 1, "sha-a", Time{3}});
  SourceObservation seen = hub_.observe("p", "s");
  ASSERT_EQ(seen.files.size(), 2u);
  EXPECT_EQ(seen.files[0].uri, "a");
  hub_.remove_file("p", "s", "a");
  EXPECT_EQ(hub_.observe("p", "s").files.size(), 1u);
  hub_.set_degraded("p", "s", "gone");
  EXPECT_TRUE(hub_.observe("p", "s").degraded);
  hub_.set_degraded("p", "s", "");
  EXPECT_FALSE(hub_.observe("p", "s").degraded);
  EXPECT_EQ(wakes_, 5);
}

TEST_F(FakeHub, commits_behave_as_a_repository_does) {
  hub_.add_commit("p", "s", "c1", {{"a", "1"}, {"b", "1"}});
  hub_.add_commit("p", "s", "c2", {{"a", "2"}, {"c", "1"}});
  EXPECT_EQ(hub_.observe("p", "s").head_commit, "c2");
  EXPECT_EQ(must(hub_.read_file("p", "s", "c1", "a")), "1");
  EXPECT_EQ(hub_.read_file("p", "s", "c2", "b").status().code(), Code::kNotFound);
  EXPECT_EQ(hub_.read_file("p", "s", "c9", "b").status().code(), Code::kNotFound);
  EXPECT_EQ(hub_.read_file("p", "x", "c1", "b").status().code(), Code::kUnavailable);
  EXPECT_THAT(must(hub_.changed_paths("p", "s", "c1", "c2")), ElementsAre("a", "b", "c"));
  EXPECT_THAT(must(hub_.changed_paths("p", "s", "", "c2")), ElementsAre("a", "c"));
}

}  // namespace
}  // namespace freshet
