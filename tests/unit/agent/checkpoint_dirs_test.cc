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

}  // namespace
}  // namespace freshet::agent
