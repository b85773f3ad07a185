#include "worker/report/supervisor_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "proto/frame.h"
#include "tests/unit/worker/temp_dir.h"

namespace freshet::worker {
namespace {

// The supervisor's side of the socket.
class Supervisor : public testing::Test {
 protected:
  void SetUp() override {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path().c_str());
    listener_ = Fd(socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener_.get(), 4), 0);
  }
  std::filesystem::path path() const { return dir_.path() / "supervisor.sock"; }

  std::unique_ptr<SupervisorLink> connect(int rank) {
    auto link = SupervisorLink::connect(path(), rank);
    EXPECT_TRUE(link.is_ok()) << link.status().to_string();
    peer_ = Fd(accept(listener_.get(), nullptr, nullptr));
    return std::move(link).value();
  }
  v1::RankFrame next() {
    v1::RankFrame frame;
    auto received = read_frame(peer_.get(), &frame);
    EXPECT_TRUE(received.is_ok() && *received);
    return frame;
  }

  TempDir dir_;
  Fd listener_, peer_;
};

TEST_F(Supervisor, GetsHelloAndGivesTheAttempt) {
  auto link = connect(3);
  auto hello = next().hello();
  EXPECT_EQ(hello.rank(), 3U);
  EXPECT_EQ(hello.process().pid(), getpid());
  EXPECT_NE(hello.process().start_ticks(), 0U);
  v1::SupervisorFrame frame;
  frame.mutable_attempt()->set_seed(77);
  ASSERT_TRUE(write_frame(peer_.get(), frame).is_ok());
  auto attempt = link->receive_attempt();
  ASSERT_TRUE(attempt.is_ok());
  EXPECT_EQ(attempt->seed(), 77U);
}

TEST_F(Supervisor, GetsMilestonesOutputsAndFailures) {
  auto link = connect(0);
  next();
  ASSERT_TRUE(link->milestone("decoded").is_ok());
  auto milestone = next().milestone();
  EXPECT_EQ(milestone.name(), "decoded");
  EXPECT_GT(milestone.time_us(), 0);
  v1::ProducedOutput output;
  output.set_name("model");
  ASSERT_TRUE(link->produced(output).is_ok());
  EXPECT_EQ(next().output().name(), "model");
  ASSERT_TRUE(link->fail("no such column").is_ok());
  EXPECT_EQ(next().failure().message(), "no such column");
}

TEST_F(Supervisor, ReadsMetricsFromTheRing) {
  auto ring = MetricRing::create(dir_.path() / "ring", 16);
  ASSERT_TRUE(ring.is_ok());
  auto link = connect(0);
  v1::SupervisorFrame frame;
  frame.mutable_attempt()->set_metric_ring((dir_.path() / "ring").string());
  ASSERT_TRUE(write_frame(peer_.get(), frame).is_ok());
  ASSERT_TRUE(link->receive_attempt().is_ok());
  link->metric("loss", 0.5, 7);
  uint64_t at = 0;
  std::vector<MetricPoint> points;
  EXPECT_EQ(ring->drain(&at, &points), 0U);
  ASSERT_EQ(points.size(), 1U);
  EXPECT_STREQ(points[0].name, "loss");
  EXPECT_EQ(points[0].step, 7);
}

TEST_F(Supervisor, ThatClosesIsAnError) {
  auto link = connect(0);
  peer_.reset();
  EXPECT_EQ(link->receive_attempt().status().code(), Code::kUnavailable);
}

TEST(NoSupervisor, IsAnErrorThatNamesTheSocket) {
  auto link = SupervisorLink::connect("/nowhere/supervisor.sock", 0);
  EXPECT_THAT(link.status().message(), testing::HasSubstr("/nowhere/supervisor.sock"));
  link = SupervisorLink::connect("/" + std::string(200, 'x'), 0);
  EXPECT_THAT(link.status().message(), testing::HasSubstr("shorter data directory"));
}

}  // namespace
}  // namespace freshet::worker
