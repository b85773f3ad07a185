// Checkpoints that are in the node's memory, too: ranks that died go on from there, and from the disk where they can't.
// The directories are on one disk here; what they are on is the agent's business.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/worker/checkpoint_gang.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/memory_room.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class MemoryCheckpoints : public testing::Test {
 protected:
  fs::path disk() const { return dir_.path() / "disk"; }
  fs::path memory() const { return dir_.path() / "memory"; }
  static std::vector<uint64_t> sealed(const fs::path& directory) {
    return CheckpointDirectory(directory, 1).sealed().value();
  }

  // All ranks of a gang die after so many steps.
  void train_and_die(const fs::path& directory, uint64_t step) {
    auto killed = run_gang(2, directory, 1,
                           [&](int, uint64_t at) {
                             if (at == step) kill(getpid(), SIGKILL);
                             return Status::ok();
                           },
                           true, {memory(), 0});
    ASSERT_THAT(killed.status.message(), HasSubstr("ended by signal 9"));
  }
  // Another gang ends the training with the right bits; what it logged is returned.
  std::string go_on(const fs::path& directory, double resumed) {
    testing::internal::CaptureStderr();
    auto outcome = run_gang(3, directory, 2, {}, true, {memory(), 0});
    std::string log = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
    EXPECT_EQ(outcome.resumed, resumed) << log;
    EXPECT_TRUE(outcome.bits == undisturbed());
    return log;
  }
  static void empty_shards(const fs::path& checkpoint) {
    for (const auto& entry : fs::directory_iterator(checkpoint)) {
      if (entry.path().extension() == ".safetensors") fs::resize_file(entry.path(), 0);
    }
  }

  TempDir dir_;
};

TEST_F(MemoryCheckpoints, TheNewestIsInMemoryAndOnDisk) {
  auto outcome = run_gang(2, disk(), 1, {}, true, {memory(), 0});
  ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
  EXPECT_TRUE(outcome.bits == undisturbed());
  EXPECT_THAT(sealed(memory()), ElementsAre(21));
  EXPECT_THAT(sealed(disk()), ElementsAre(18, 21));
}

TEST_F(MemoryCheckpoints, RanksGoOnFromMemoryAlone) {
  std::ofstream(dir_.path() / "file") << "in the way of any checkpoint on disk";
  const fs::path nowhere = dir_.path() / "file" / "run";
  train_and_die(nowhere, 14);
  EXPECT_THAT(sealed(memory()), ElementsAre(12));
  EXPECT_THAT(go_on(nowhere, 12), HasSubstr("going on from the checkpoint of step 12 in memory"));
}

TEST_F(MemoryCheckpoints, MemoryIsPreferredToTheDisk) {
  train_and_die(disk(), 14);
  empty_shards(CheckpointDirectory(disk(), 1).sealed_path(12));
  EXPECT_THAT(go_on(disk(), 12), Not(HasSubstr("is not used")));
}

TEST_F(MemoryCheckpoints, NewerOneOnDiskIsPreferredToMemory) {
  train_and_die(dir_.path() / "other", 8);
  EXPECT_THAT(sealed(memory()), ElementsAre(6));
  fs::rename(memory(), dir_.path() / "aside");
  train_and_die(disk(), 14);
  fs::remove_all(memory());
  fs::rename(dir_.path() / "aside", memory());
  EXPECT_THAT(go_on(disk(), 12), HasSubstr("going on from the checkpoint of step 12 on disk"));
}

TEST_F(MemoryCheckpoints, DamagedInMemoryIsTakenFromTheDisk) {
  train_and_die(disk(), 14);
  empty_shards(CheckpointDirectory(memory(), 1).sealed_path(12));
  const std::string log = go_on(disk(), 12);
  EXPECT_THAT(log, HasSubstr("step 12 in memory is not used, looking for another one"));
  EXPECT_THAT(log, HasSubstr("going on from the checkpoint of step 12 on disk"));
}

TEST_F(MemoryCheckpoints, WithoutRoomTheyAreOnDiskOnly) {
  testing::internal::CaptureStderr();
  auto outcome = run_gang(2, disk(), 1, {}, true, {memory(), uint64_t{1} << 60});
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
  EXPECT_TRUE(outcome.bits == undisturbed());
  EXPECT_THAT(sealed(disk()), ElementsAre(18, 21));
  EXPECT_TRUE(!fs::exists(memory()) || fs::is_empty(memory()));
  const std::string said = "on disk only";
  EXPECT_THAT(log, HasSubstr("step 3 has no place in memory, it and those after it are on disk only: it takes"));
  EXPECT_EQ(log.find(said), log.rfind(said)) << "said once";
}

TEST(MemoryRoom, CountsWhatIsLeftToOthers) {
  TempDir dir;
  const fs::path later = dir.path() / "not/there/yet";
  EXPECT_TRUE(check_memory_room(later, 0, 0).is_ok());
  EXPECT_TRUE(check_memory_room("/dev/shm", 1, 0).is_ok());
  EXPECT_EQ(check_memory_room(later, uint64_t{1} << 60, 0).code(), Code::kResourceExhausted);
  EXPECT_EQ(check_memory_room(later, 0, uint64_t{1} << 60).code(), Code::kResourceExhausted);
  EXPECT_EQ(check_memory_room(later, UINT64_MAX, UINT64_MAX).code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace freshet::worker
