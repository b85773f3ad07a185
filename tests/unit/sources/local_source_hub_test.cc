#include "daemon/sources/local_source_hub.h"

#include "tests/unit/sources/support.h"
#include "tests/unit/sources/test_repository.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

v1::Source directory_source(const std::string& name, const std::string& uri) {
  v1::Source source;
  source.mutable_metadata()->set_project("p");
  source.mutable_metadata()->set_name(name);
  source.mutable_spec()->mutable_directory()->set_uri(uri);
  return source;
}

v1::Source git_source(const std::string& name, const std::string& uri) {
  v1::Source source;
  source.mutable_metadata()->set_project("p");
  source.mutable_metadata()->set_name(name);
  source.mutable_spec()->mutable_git()->set_uri(uri);
  source.mutable_spec()->mutable_git()->set_branch("main");
  return source;
}

class Hub : public testing::Test {
 protected:
  void SetUp() override {
    hub_.set_wake(changes_.callback());
    fs::create_directory(inbox_);
  }
  bool wait(const std::string& name, const std::function<bool(const SourceObservation&)>& holds) {
    return changes_.wait_until([&] { return holds(hub_.observe("p", name)); });
  }

  TempDir temporary_;
  fs::path inbox_ = temporary_.path() / "inbox";
  fs::path origin_ = temporary_.path() / "origin";
  Changes changes_;
  LocalSourceHub hub_{temporary_.path() / "git"};
};

TEST_F(Hub, watches_directories_and_repositories) {
  TestRepository repository(origin_);
  std::string head = repository.commit("main", {{"recipe.yaml", "one"}});
  hub_.set_sources({directory_source("data", "file://" + inbox_.string()), git_source("code", origin_.string())});
  land(inbox_, "a.csv", "x");
  ASSERT_TRUE(wait("data", [](const SourceObservation& now) { return now.files.size() == 1; }));
  ASSERT_TRUE(wait("code", [&](const SourceObservation& now) { return now.head_commit == head; }));
  EXPECT_EQ(must(hub_.read_file("p", "code", head, "recipe.yaml")), "one");
  EXPECT_THAT(must(hub_.changed_paths("p", "code", "", head)), ElementsAre("recipe.yaml"));
  EXPECT_EQ(hub_.read_file("p", "code", head, "none").status().message(),
            "source code: none does not exist in commit " + head);
  EXPECT_EQ(hub_.read_file("p", "data", head, "x").status().to_string(),
            "invalid_argument: source data is not a git repository");
  EXPECT_EQ(hub_.read_file("p", "none", head, "x").status().to_string(),
            "unavailable: source none is not watched yet; try again in a moment");
}

TEST_F(Hub, follows_what_is_applied) {
  fs::path other = temporary_.path() / "other";
  fs::create_directory(other);
  land(other, "b.csv", "y");
  hub_.set_sources({directory_source("data", inbox_.string())});
  land(inbox_, "a.csv", "x");
  ASSERT_TRUE(wait("data", [](const SourceObservation& now) { return now.files.size() == 1; }));
  hub_.set_sources({directory_source("data", inbox_.string())});
  EXPECT_TRUE(hub_.observe("p", "data").known);  // unchanged: nothing is forgotten
  hub_.set_sources({directory_source("data", other.string())});
  ASSERT_TRUE(
      wait("data", [](const SourceObservation& now) { return now.files.size() == 1 && now.files[0].uri == "b.csv"; }));
  hub_.set_sources({});
  EXPECT_FALSE(hub_.observe("p", "data").known);
}

TEST_F(Hub, source_that_makes_no_sense_is_degraded) {
  hub_.set_sources({directory_source("far", "s3://bucket/x"), v1::Source()});
  SourceObservation far = hub_.observe("p", "far");
  EXPECT_TRUE(far.known);
  EXPECT_TRUE(far.degraded);
  EXPECT_EQ(far.message, "'s3://bucket/x' is not file:///absolute/path");
  EXPECT_EQ(hub_.observe("", "").message, "the source is neither a directory nor a git repository");
}

}  // namespace
}  // namespace freshet
