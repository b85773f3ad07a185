#include "agent/checkpoint_dirs.h"

#include <sys/stat.h>
#include <sys/time.h>

#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

constexpr int64_t kNow = 1'800'000'000;

class CheckpointDirs : public ::testing::Test {
 protected:
  // As of a piece of work that was last saved so long ago.
  fs::path make(const std::string& run, int64_t seconds_ago) {
    v1::WorkRef work;
    work.set_run_id(run);
    work.set_step("fit");
    fs::path path = checkpoint_dir(dir_.path(), work);
    must(make_directories(path / "step-000000000010"));
    timeval times[2] = {{kNow - seconds_ago, 0}, {kNow - seconds_ago, 0}};
    CHECK(::utimes(path.c_str(), times) == 0);
    return path;
  }
  void remove_old(const std::set<fs::path>& used = {}) {
    must(remove_old_checkpoints(dir_.path(), used, Time{kNow * 1'000'000}));
  }
  TempDir dir_;
};

TEST_F(CheckpointDirs, NothingIsThere) { remove_old(); }

TEST_F(CheckpointDirs, StayForADay) {
  fs::path young = make("young", 86'000), old = make("old", 87'000);
  remove_old();
  EXPECT_TRUE(fs::exists(young));
  EXPECT_FALSE(fs::exists(old));
}

TEST_F(CheckpointDirs, OfTheNewestFew) {
  std::vector<fs::path> paths;
  for (int i = 0; i < 6; ++i) paths.push_back(make("run-" + std::to_string(i), 100 * i));
  remove_old();
  for (size_t i = 0; i < paths.size(); ++i) EXPECT_EQ(fs::exists(paths[i]), i < 4) << i;
}

TEST_F(CheckpointDirs, InUseAreNotTouched) {
  std::set<fs::path> used = {make("a", 1'000'000), make("b", 2'000'000)};
  fs::path other = make("c", 10);
  remove_old(used);
  for (const auto& path : used) EXPECT_TRUE(fs::exists(path));
  EXPECT_TRUE(fs::exists(other));
}

TEST_F(CheckpointDirs, RemovalsAreEnded) {
  must(make_directories(dir_.path() / "checkpoints/.gone-x.fit/step-000000000010"));
  remove_old();
  EXPECT_TRUE(fs::is_empty(dir_.path() / "checkpoints"));
}

class MemoryDirs : public CheckpointDirs {
 protected:
  MemoryDirs() { work_.set_step("fit"); }
  ~MemoryDirs() override {
    for (const auto& root : roots_) fs::remove_all(root);
  }
  Result<fs::path> make_in_memory(const std::string& run, int64_t seconds_ago = 0) {
    work_.set_run_id(run);
    auto path = make_checkpoint_memory_dir(dir_.path(), work_);
    if (!path.is_ok()) return path;
    roots_.insert(path->parent_path());
    must(make_directories(*path / "step-000000000010"));
    timeval times[2] = {{kNow - seconds_ago, 0}, {kNow - seconds_ago, 0}};
    CHECK(::utimes(path->c_str(), times) == 0);
    return path;
  }
  v1::WorkRef work_;
  std::set<fs::path> roots_;
};

TEST_F(MemoryDirs, AreForThisUserAndThisAgentAlone) {
  auto path = make_in_memory("a");
  ASSERT_TRUE(path.is_ok()) << path.status().to_string();
  EXPECT_TRUE(path->string().starts_with("/dev/shm/freshet-checkpoints-"));
  EXPECT_EQ(path->filename(), "a.fit");
  EXPECT_EQ(fs::status(path->parent_path()).permissions(), fs::perms::owner_all);
  EXPECT_EQ(*make_in_memory("a"), *path) << "what is there stays";
  EXPECT_TRUE(fs::exists(*path / "step-000000000010"));
  TempDir other;
  auto elsewhere = make_checkpoint_memory_dir(other.path(), work_);
  ASSERT_TRUE(elsewhere.is_ok());
  roots_.insert(elsewhere->parent_path());
  EXPECT_NE(elsewhere->parent_path(), path->parent_path());
}

TEST_F(MemoryDirs, NameThatOthersCanReadIsRefused) {
  auto path = make_in_memory("a");
  ASSERT_TRUE(path.is_ok());
  fs::permissions(path->parent_path(), fs::perms::group_read, fs::perm_options::add);
  EXPECT_EQ(make_in_memory("a").status().code(), Code::kConflict);
}

TEST_F(MemoryDirs, GoAwayWithTheirWork) {
  auto path = make_in_memory("a");
  ASSERT_TRUE(path.is_ok());
  must(remove_checkpoints(dir_.path(), work_));
  EXPECT_FALSE(fs::exists(*path));
  EXPECT_FALSE(fs::exists(path->parent_path())) << "nothing is left in a place for everybody";
}

TEST_F(MemoryDirs, StayForAnHourAndOnlyTheNewest) {
  const fs::path used = *make_in_memory("used", 9'000), older = *make_in_memory("older", 3'000),
                 newer = *make_in_memory("newer", 2'000);
  remove_old({dir_.path() / "checkpoints/used.fit"});
  EXPECT_TRUE(fs::exists(used));
  EXPECT_FALSE(fs::exists(older));
  EXPECT_TRUE(fs::exists(newer));
  ASSERT_TRUE(make_in_memory("newer", 4'000).is_ok());
  remove_old();
  EXPECT_FALSE(fs::exists(used.parent_path()));
}

}  // namespace
}  // namespace freshet::agent
