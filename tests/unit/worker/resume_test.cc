// Going on from a checkpoint: the bits are those of a training that nobody disturbed, whoever goes on and with how many
// ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "base/file.h"
#include "base/random.h"
#include "tests/unit/worker/checkpoint_gang.h"
#include "tests/unit/worker/temp_dir.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Resume, CheckpointsChangeNoBit) {
  for (int ranks : {1, 2, 3}) {
    for (bool slow_steps : {true, false}) {
      TempDir dir;
      CheckpointDirectory directory(dir.path() / "run", 1);
      auto outcome = run_gang(ranks, dir.path() / "run", 1, {}, slow_steps);
      ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
      EXPECT_TRUE(outcome.bits == undisturbed()) << ranks;
      EXPECT_EQ(outcome.resumed, -1);
      auto sealed = directory.sealed();
      ASSERT_TRUE(sealed.is_ok());
      if (slow_steps) {
        EXPECT_THAT(*sealed, ElementsAre(18, 21));  // none after the last step
      }
      EXPECT_FALSE(sealed->empty());
      for (uint64_t step : *sealed) {
        ThreadPool pool(2);
        auto verified = verify_checkpoint(directory.sealed_path(step), 0, 1, &pool);
        EXPECT_TRUE(verified.is_ok()) << verified.status().to_string();
      }
    }
  }
}

// A gang of each size is killed at a drawn step; gangs of every size go on from what it left.
TEST(Resume, AnyNumberOfRanksGoesOnFromAnyOther) {
  const uint64_t seed = SystemRandom().next();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  Philox philox(seed);
  uint64_t draws = 0;
  for (int before : {1, 2, 3, 4, 8}) {
    TempDir dir;
    uint64_t kill_at = 9 + philox.below(draws++, kCheckpointedSteps - 9);
    auto victim = static_cast<int>(philox.below(draws++, static_cast<uint64_t>(before)));
    auto killed = run_gang(before, dir.path() / "run", 1, [&](int rank, uint64_t step) {
      if (rank == victim && step == kill_at) kill(getpid(), SIGKILL);
      return Status::ok();
    });
    ASSERT_THAT(killed.status.message(), HasSubstr("ended by signal 9"));
    for (int after : {1, 2, 3, 4, 8}) {
      fs::copy(dir.path() / "run", dir.path() / "copy", fs::copy_options::recursive);
      auto outcome = run_gang(after, dir.path() / "copy", 2, {}, false);
      ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
      EXPECT_TRUE(outcome.bits == undisturbed())
          << before << " ranks, killed at step " << kill_at << ", then " << after;
      // One that was begun after the step before the last was not sealed in time.
      EXPECT_EQ(outcome.resumed, static_cast<double>((kill_at - 2) / 3 * 3));
      fs::remove_all(dir.path() / "copy");
    }
  }
}

class Damaged : public testing::Test {
 protected:
  void SetUp() override {
    auto outcome =
        run_gang(2, directory(), 1, [](int, uint64_t step) { return step == 20 ? cancelled("enough") : Status::ok(); });
    ASSERT_THAT(outcome.status.message(), HasSubstr("enough"));
    auto sealed = CheckpointDirectory(directory(), 1).sealed();
    ASSERT_TRUE(sealed.is_ok());
    ASSERT_EQ(sealed->size(), 2U);
    older_ = (*sealed)[0];
    newest_ = (*sealed)[1];
  }

  fs::path directory() const { return dir_.path() / "run"; }
  fs::path newest(const std::string& file) const {
    return CheckpointDirectory(directory(), 1).sealed_path(newest_) / file;
  }
  fs::path a_shard() const {
    for (const auto& entry : fs::directory_iterator(newest(""))) {
      if (entry.path().extension() == ".safetensors") return entry.path();
    }
    return {};
  }
  // The gang says which one it takes, and ends with the right bits.
  void goes_on_from(double step, const std::string& said) {
    testing::internal::CaptureStderr();
    auto outcome = run_gang(3, directory(), 2, {}, false);
    std::string log = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
    EXPECT_EQ(outcome.resumed, step) << log;
    EXPECT_TRUE(outcome.bits == undisturbed());
    EXPECT_THAT(log, HasSubstr(said));
  }

  TempDir dir_;
  uint64_t older_ = 0, newest_ = 0;
};

TEST_F(Damaged, ShardWithAFlippedBitIsPassedOverForAnOlderCheckpoint) {
  auto path = a_shard();
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-5, std::ios::end);
  char byte = static_cast<char>(file.get());
  file.seekp(-5, std::ios::end);
  file.put(static_cast<char>(byte ^ 0x10));
  file.close();
  goes_on_from(static_cast<double>(older_), path.filename().string() + " is not what its manifest says");
}

TEST_F(Damaged, CutShardIsPassedOver) {
  fs::resize_file(a_shard(), fs::file_size(a_shard()) - 1);
  goes_on_from(static_cast<double>(older_), "looking for an older one");
}

TEST_F(Damaged, MissingShardIsPassedOver) {
  fs::remove(a_shard());
  goes_on_from(static_cast<double>(older_), "looking for an older one");
}

TEST_F(Damaged, CutManifestIsPassedOver) {
  fs::resize_file(newest("manifest.json"), 100);
  goes_on_from(static_cast<double>(older_), "manifest.json");
}

// A digit of a number in it: still JSON, and of files that are as it says.
TEST_F(Damaged, ManifestWithAnotherNumberIsPassedOver) {
  auto text = read_file(newest("manifest.json"));
  ASSERT_TRUE(text.is_ok());
  size_t at = text->find("\"cursor\":");
  ASSERT_NE(at, std::string::npos);
  text->at(at + 9) = text->at(at + 9) == '1' ? '2' : '1';
  std::ofstream(newest("manifest.json"), std::ios::trunc) << *text;
  goes_on_from(static_cast<double>(older_), "manifest.json is not what was written");
}

TEST_F(Damaged, NothingGoodIsLeftAndTrainingStartsOver) {
  fs::resize_file(newest("manifest.json"), 0);
  fs::remove_all(CheckpointDirectory(directory(), 1).sealed_path(older_) / "manifest.json");
  goes_on_from(-1, "looking for an older one");
}

TEST_F(Damaged, AnotherTrainingsCheckpointIsNotUsed) {
  CheckpointedRun other;
  other.directory = directory();
  other.options.seed = 18;
  SingleCommunicator comm;
  testing::internal::CaptureStderr();
  Status status = other.run(&comm);
  std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_THAT(other.resumed_from, testing::IsEmpty());
  EXPECT_THAT(log, HasSubstr("is of another training"));
}

// A directory that cannot be written costs the checkpoints, not the training.
TEST(Resume, TrainsOnWhereNothingCanBeSaved) {
  TempDir dir;
  std::ofstream(dir.path() / "file") << "in the way";
  testing::internal::CaptureStderr();
  auto outcome = run_gang(2, dir.path() / "file" / "run", 1);
  std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
  EXPECT_TRUE(outcome.bits == undisturbed());
  EXPECT_THAT(log, HasSubstr("could not be written, training goes on without it"));
}

TEST(Resume, LeavesNothingUnfinishedOfEarlierAttempts) {
  TempDir dir;
  fs::create_directories(dir.path() / "run/step-000000000003.tmp.1");
  fs::create_directories(dir.path() /
                         "run/step-000000000006.tmp.9");  // of a newer attempt, which is none of its business
  auto outcome = run_gang(1, dir.path() / "run", 2);
  ASSERT_TRUE(outcome.status.is_ok()) << outcome.status.to_string();
  EXPECT_FALSE(fs::exists(dir.path() / "run/step-000000000003.tmp.1"));
  EXPECT_TRUE(fs::exists(dir.path() / "run/step-000000000006.tmp.9"));
}

}  // namespace
}  // namespace freshet::worker
