#include <algorithm>

#include "base/time.h"
#include "daemon/sources/git_mirror.h"
#include "daemon/sources/git_watcher.h"
#include "tests/unit/sources/support.h"
#include "tests/unit/sources/test_repository.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class Git : public testing::Test {
 protected:
  GitMirror mirror(const std::string& branch = "main") const {
    return GitMirror(temporary_.path() / "mirror", "file://" + origin_.string(), branch);
  }
  Result<std::string> fetch(const GitMirror& mirror) const { return mirror.fetch(never_); }

  TempDir temporary_;
  fs::path origin_ = temporary_.path() / "origin";
  std::atomic<bool> never_{false};
};

TEST_F(Git, fetches_the_head_and_reads_commits) {
  TestRepository repository(origin_);
  std::string first = repository.commit("main", {{"recipe.yaml", "one"}, {"sub/a.txt", "a"}});
  GitMirror mirror = this->mirror();
  EXPECT_EQ(mirror.known_head(), "");
  EXPECT_EQ(must(fetch(mirror)), first);
  std::string second = repository.commit("main", {{"recipe.yaml", "two"}, {"sub/b.txt", "b"}});
  EXPECT_EQ(must(fetch(mirror)), second);
  EXPECT_EQ(must(fetch(mirror)), second);
  EXPECT_EQ(must(mirror.read_file(first, "recipe.yaml")), "one");
  EXPECT_EQ(must(mirror.read_file(second, "recipe.yaml")), "two");
  EXPECT_EQ(must(mirror.read_file(first, "sub/a.txt")), "a");
  EXPECT_THAT(must(mirror.changed_paths(first, second)), ElementsAre("recipe.yaml", "sub/a.txt", "sub/b.txt"));
  EXPECT_THAT(must(mirror.changed_paths(second, second)), ElementsAre());
  EXPECT_THAT(must(mirror.changed_paths("", second)), ElementsAre("recipe.yaml", "sub/b.txt"));
  EXPECT_EQ(this->mirror().known_head(), second);
}

TEST_F(Git, locks_that_a_killed_process_left_are_removed) {
  TestRepository repository(origin_);
  repository.commit("main", {{"a", "1"}});
  const fs::path mirror_path = temporary_.path() / "mirror";
  fs::create_directories(mirror_path);
  std::ofstream(mirror_path / "config.lock") << "half";
  must(fetch(mirror()));
  std::string second = repository.commit("main", {{"a", "2"}});
  std::ofstream(mirror_path / "refs/freshet/head.lock") << "half";
  EXPECT_EQ(must(fetch(mirror())), second);
}

TEST_F(Git, says_what_can_not_be_read) {
  TestRepository repository(origin_);
  std::string head = repository.commit("main", {{"sub/a.txt", "a"}});
  GitMirror mirror = this->mirror();
  must(fetch(mirror));
  EXPECT_EQ(mirror.read_file(head, "none").status().to_string(), "not_found: none does not exist in commit " + head);
  EXPECT_EQ(mirror.read_file(head, "sub").status().to_string(), "not_found: sub is not a file in commit " + head);
  EXPECT_EQ(mirror.read_file(head, "../sub/a.txt").status().code(), Code::kNotFound);
  std::string unknown(40, 'a');
  EXPECT_EQ(mirror.read_file(unknown, "a").status().message(), "commit " + unknown + " is not in what was fetched");
  EXPECT_EQ(mirror.changed_paths(unknown, head).status().code(), Code::kNotFound);
  EXPECT_EQ(mirror.read_file("main", "a").status().code(), Code::kInvalidArgument);
}

TEST_F(Git, missing_repository_is_named) {
  Status status = fetch(mirror()).status();
  EXPECT_EQ(status.to_string(), "not_found: repository " + origin_.string() + " does not exist");
  fs::create_directory(origin_);
  EXPECT_THAT(fetch(mirror()).status().message(), HasSubstr("repository file://" + origin_.string() + " can't be"));
}

TEST_F(Git, missing_branch_is_named_with_those_there_are) {
  TestRepository repository(origin_);
  EXPECT_EQ(fetch(mirror()).status().to_string(), "not_found: branch 'main' not found; the repository has no branches");
  repository.commit("main", {{"a", "a"}});
  repository.commit("dev", {{"a", "a"}});
  EXPECT_EQ(fetch(mirror("x")).status().to_string(), "not_found: branch 'x' not found; the repository has: dev, main");
}

TEST_F(Git, rewritten_and_renamed_branches) {
  std::string old;
  {
    TestRepository repository(origin_);
    old = repository.commit("main", {{"a", "a"}});
    must(fetch(mirror()));
  }
  fs::remove_all(origin_);
  TestRepository repository(origin_);
  std::string other = repository.commit("main", {{"b", "b"}});
  EXPECT_EQ(must(fetch(mirror())), other);
  EXPECT_THAT(must(mirror().changed_paths(old, other)), ElementsAre("a", "b"));
  std::string nested = repository.commit("main2/x", {{"c", "c"}});
  EXPECT_EQ(must(fetch(mirror("main2/x"))), nested);
}

TEST_F(Git, bare_repository_and_plain_path) {
  TestRepository repository(origin_, /*bare=*/true);
  std::string head = repository.commit("main", {{"a", "a"}});
  EXPECT_EQ(must(GitMirror(temporary_.path() / "m", origin_.string(), "main").fetch(never_)), head);
}

class GitWatch : public Git {
 protected:
  void start(Duration interval) { watcher_ = std::make_unique<GitWatcher>(mirror(), interval, changes_.callback()); }
  bool wait(const std::function<bool(const SourceObservation&)>& holds) {
    bool held = changes_.wait_until([&] { return holds(watcher_->observe()); });
    if (!held) ADD_FAILURE() << "never seen; now: " << watcher_->observe().head_commit << watcher_->observe().message;
    return held;
  }

  Changes changes_;
  std::unique_ptr<GitWatcher> watcher_;
};

TEST_F(GitWatch, new_commit_is_seen_at_once_on_this_machine) {
  TestRepository repository(origin_);
  std::string head = repository.commit("main", {{"a", "a"}});
  start(Duration::seconds(3600));
  ASSERT_TRUE(wait([&](const SourceObservation& now) { return now.head_commit == head; }));
  SystemClock clock;
  std::vector<double> latencies_ms;
  for (int i = 0; i < 11; ++i) {
    Time before = clock.monotonic();
    head = repository.commit("main", {{"a", std::to_string(i)}});
    ASSERT_TRUE(wait([&](const SourceObservation& now) { return now.head_commit == head; }));
    latencies_ms.push_back((clock.monotonic() - before).to_seconds() * 1e3);
  }
  std::sort(latencies_ms.begin(), latencies_ms.end());
  std::cout << "commit to observation: median " << latencies_ms[5] << " ms, worst " << latencies_ms[10] << " ms\n";
}

TEST_F(GitWatch, missing_repository_then_branch_then_healthy) {
  start(Duration::millis(20));
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.degraded; }));
  EXPECT_EQ(watcher_->observe().message,
            "repository " + origin_.string() + " does not exist; trying again every 20 ms");
  EXPECT_TRUE(watcher_->observe().known);
  TestRepository repository(origin_);
  repository.commit("dev", {{"a", "a"}});
  ASSERT_TRUE(wait([](const SourceObservation& now) {
    return now.message == "branch 'main' not found; the repository has: dev; trying again every 20 ms";
  }));
  std::string head = repository.commit("main", {{"a", "a"}});
  ASSERT_TRUE(wait([&](const SourceObservation& now) { return !now.degraded && now.head_commit == head; }));
}

TEST_F(GitWatch, head_stays_known_while_the_repository_is_away) {
  std::string head;
  {
    TestRepository repository(origin_);
    head = repository.commit("main", {{"a", "a"}});
    start(Duration::millis(20));
    ASSERT_TRUE(wait([&](const SourceObservation& now) { return now.head_commit == head; }));
  }
  fs::rename(origin_, temporary_.path() / "away");
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.degraded; }));
  EXPECT_EQ(watcher_->observe().head_commit, head);
  EXPECT_EQ(must(watcher_->mirror().read_file(head, "a")), "a");
  watcher_.reset();
  start(Duration::millis(20));  // as after a restart of the daemon
  ASSERT_TRUE(wait([](const SourceObservation& now) { return now.degraded; }));
  EXPECT_EQ(watcher_->observe().head_commit, head);
  fs::rename(temporary_.path() / "away", origin_);
  ASSERT_TRUE(wait([&](const SourceObservation& now) { return !now.degraded && now.head_commit == head; }));
}

}  // namespace
}  // namespace freshet
