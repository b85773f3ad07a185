#include "base/metric_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/base/temp_dir.h"

namespace freshet {
namespace {

TEST(MetricRing, GivesPointsInTheOrderTheyWerePushed) {
  TempDir dir;
  auto writer = MetricRing::create(dir / "ring", 8);
  ASSERT_TRUE(writer.is_ok());
  auto reader = MetricRing::open(dir / "ring");
  ASSERT_TRUE(reader.is_ok());
  uint64_t next = 0;
  std::vector<MetricPoint> points;
  EXPECT_EQ(reader->drain(&next, &points), 0U);
  EXPECT_TRUE(points.empty());
  writer->push("loss", 0.5, 1, 100);
  writer->push("gradient_norm", -2.25, 2, 200);
  EXPECT_EQ(reader->drain(&next, &points), 0U);
  ASSERT_EQ(points.size(), 2U);
  EXPECT_STREQ(points[0].name, "loss");
  EXPECT_EQ(points[0].value, 0.5);
  EXPECT_EQ(points[0].step, 1);
  EXPECT_EQ(points[0].time_us, 100);
  EXPECT_STREQ(points[1].name, "gradient_norm");
  EXPECT_EQ(points[1].value, -2.25);
  EXPECT_EQ(next, 2U);
  EXPECT_EQ(reader->drain(&next, &points), 0U);
  EXPECT_EQ(points.size(), 2U);
}

TEST(MetricRing, OverwritesTheOldestAndSaysHowManyWereLost) {
  TempDir dir;
  auto ring = MetricRing::create(dir / "ring", 4);
  ASSERT_TRUE(ring.is_ok());
  for (int i = 0; i < 4; ++i) ring->push("loss", i, i, 0);
  uint64_t next = 0;
  std::vector<MetricPoint> points;
  EXPECT_EQ(ring->drain(&next, &points), 0U);
  EXPECT_EQ(points.size(), 4U);
  for (int i = 4; i < 15; ++i) ring->push("loss", i, i, 0);
  points.clear();
  EXPECT_EQ(ring->drain(&next, &points), 7U);
  ASSERT_EQ(points.size(), 4U);
  EXPECT_EQ(points.front().step, 11);
  EXPECT_EQ(points.back().step, 14);
  ring->push("loss", 15, 15, 0);
  points.clear();
  EXPECT_EQ(ring->drain(&next, &points), 0U);
  EXPECT_EQ(points.size(), 1U);
}

TEST(MetricRing, ALongNameIsCutAndEndsInZero) {
  TempDir dir;
  auto ring = MetricRing::create(dir / "ring", 2);
  ASSERT_TRUE(ring.is_ok());
  ring->push(std::string(200, 'n'), 1, 1, 1);
  ring->push("x", 2, 2, 2);  // nothing of a longer name before it shows through
  ring->push(std::string(48, 'm'), 3, 3, 3);
  uint64_t next = 0;
  std::vector<MetricPoint> points;
  EXPECT_EQ(ring->drain(&next, &points), 1U);
  EXPECT_STREQ(points[0].name, "x");
  EXPECT_EQ(std::string(points[1].name), std::string(47, 'm'));
}

TEST(MetricRing, AReaderThatComesLaterSeesWhatIsStillThere) {
  TempDir dir;
  {
    auto writer = MetricRing::create(dir / "ring", 4);
    ASSERT_TRUE(writer.is_ok());
    for (int i = 0; i < 6; ++i) writer->push("loss", i, i, 0);
  }
  auto reader = MetricRing::open(dir / "ring");
  ASSERT_TRUE(reader.is_ok());
  uint64_t next = 0;
  std::vector<MetricPoint> points;
  EXPECT_EQ(reader->drain(&next, &points), 2U);
  EXPECT_EQ(points.size(), 4U);
}

TEST(MetricRing, RefusesWhatIsNoRing) {
  TempDir dir;
  EXPECT_EQ(MetricRing::open(dir / "none").status().code(), Code::kNotFound);
  ASSERT_TRUE(write_file_durably(dir / "short", "x").is_ok());
  EXPECT_EQ(MetricRing::open(dir / "short").status().code(), Code::kCorrupt);
  ASSERT_TRUE(write_file_durably(dir / "other", std::string(4096, 'x')).is_ok());
  EXPECT_EQ(MetricRing::open(dir / "other").status().code(), Code::kCorrupt);
  ASSERT_TRUE(MetricRing::create(dir / "cut", 16).is_ok());
  std::filesystem::resize_file(dir / "cut", std::filesystem::file_size(dir / "cut") - 1);
  EXPECT_EQ(MetricRing::open(dir / "cut").status().code(), Code::kCorrupt);
}

// A writer process that never waits and a reader that can't keep up: each point is either whole or counted as lost.
class MetricRingOfCapacity : public testing::TestWithParam<uint32_t> {};

TEST_P(MetricRingOfCapacity, TwoProcessesNeverSeeAHalfWrittenPoint) {
  constexpr int64_t kPoints = 2'000'000;
  TempDir dir;
  auto reader = MetricRing::create(dir / "ring", GetParam());
  ASSERT_TRUE(reader.is_ok());
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto writer = MetricRing::open(dir / "ring");
    if (!writer.is_ok()) ::_exit(1);
    for (int64_t i = 0; i < kPoints; ++i) {
      writer->push(i % 2 == 0 ? "even" : "odd_with_a_longer_name", static_cast<double>(i) * 0.5, i, i * 3);
    }
    ::_exit(0);
  }
  uint64_t next = 0;
  uint64_t lost = 0;
  int64_t seen = 0;
  int64_t last_step = -1;
  bool ended = false;
  for (bool last_round = false; !last_round;) {
    last_round = ended;
    std::vector<MetricPoint> points;
    lost += reader->drain(&next, &points);
    for (const auto& point : points) {
      ASSERT_GT(point.step, last_step);
      last_step = point.step;
      ASSERT_EQ(point.value, static_cast<double>(point.step) * 0.5);
      ASSERT_EQ(point.time_us, point.step * 3);
      ASSERT_STREQ(point.name, point.step % 2 == 0 ? "even" : "odd_with_a_longer_name");
      ++seen;
    }
    int status = 0;
    if (!ended && ::waitpid(child, &status, WNOHANG) == child) {
      ended = true;
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
  }
  EXPECT_EQ(static_cast<uint64_t>(seen) + lost, static_cast<uint64_t>(kPoints));
  EXPECT_EQ(next, static_cast<uint64_t>(kPoints));
  EXPECT_EQ(last_step, kPoints - 1);
}

// In the smallest the two meet in one slot all the time; in the others the writer laps a reader that is in the middle.
INSTANTIATE_TEST_SUITE_P(Sizes, MetricRingOfCapacity, testing::Values(1, 64, 1024));

}  // namespace
}  // namespace freshet
