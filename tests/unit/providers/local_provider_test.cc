// The local provider with the real agent program (which finds no daemon and waits for one).
#include "daemon/providers/local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>

#include "base/file.h"
#include "daemon/providers/local_keeper.h"
#include "tests/paths.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

template <class Condition>
bool eventually(Condition condition) {
  const SystemClock clock;
  const Time deadline = clock.monotonic() + Duration::seconds(20);
  while (!condition()) {
    if (clock.monotonic() > deadline) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

class LocalProviderTest : public ::testing::Test {
 protected:
  LocalProviderTest() {
    std::string name = (fs::temp_directory_path() / "freshet-provider-test-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    dir_ = name;
    config_.agent = fs::path(FRESHET_BINARY_DIR) / "freshet-agent";
    config_.worker = "/bin/false";
    config_.mpirun = "/usr/bin/mpirun";
    config_.agent_dir = dir_ / "agent";
    config_.address_file = dir_ / "address";
    config_.token_file = dir_ / "admin.token";
    config_.node = "node-a";
    config_.slots = 2;
  }
  ~LocalProviderTest() override {
    EXPECT_TRUE(LocalProvider(config_).stop(Duration::seconds(10)).is_ok());
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }
  std::optional<ProcessId> running() {
    auto found = LocalProvider(config_).find();
    EXPECT_TRUE(found.is_ok()) << found.status().to_string();
    return found.is_ok() ? *found : std::nullopt;
  }

  fs::path dir_;
  LocalAgentConfig config_;
};

TEST_F(LocalProviderTest, TheCommandLineIsThis) {
  LocalAgentConfig config;
  config.agent = "/opt/freshet/bin/freshet-agent";
  config.worker = "/opt/freshet/bin/freshet-worker";
  config.mpirun = "/usr/bin/mpirun";
  config.agent_dir = "/data/agent";
  config.address_file = "/data/address";
  config.token_file = "/data/admin.token";
  config.node = "node-a";
  config.slots = 2;
  EXPECT_EQ(build_local_agent_command(config),
            (std::vector<std::string>{"/opt/freshet/bin/freshet-agent", "run", "--daemon-file", "/data/address",
                                      "--token-file", "/data/admin.token", "--dir", "/data/agent", "--name", "node-a",
                                      "--slots", "2", "--worker", "/opt/freshet/bin/freshet-worker", "--mpirun",
                                      "/usr/bin/mpirun"}));
  config.products = "/etc/freshet/h200.products";
  const auto tuned = build_local_agent_command(config);
  EXPECT_EQ((std::vector<std::string>{tuned.end() - 2, tuned.end()}),
            (std::vector<std::string>{"--products", "/etc/freshet/h200.products"}));
}

TEST_F(LocalProviderTest, AnAgentIsStartedOnceFoundAgainAndStopped) {
  EXPECT_FALSE(running());
  ASSERT_TRUE(LocalProvider(config_).ensure_running().is_ok());
  ASSERT_TRUE(eventually([&] { return running().has_value(); }));
  const ProcessId first = *running();
  // Another provider, as a daemon has after its restart.
  ASSERT_TRUE(LocalProvider(config_).ensure_running().is_ok());
  EXPECT_EQ(*running(), first);
  auto stat = process_stat(first.pid);
  ASSERT_TRUE(stat.is_ok());
  EXPECT_NE(stat->parent, ::getpid());
  EXPECT_NE(stat->session, ::getsid(0));
  ASSERT_TRUE(LocalProvider(config_).stop(Duration::seconds(10)).is_ok());
  EXPECT_FALSE(running());
  EXPECT_FALSE(is_running(first));
  EXPECT_TRUE(fs::exists(config_.agent_dir / "agent.log"));
}

TEST_F(LocalProviderTest, AStalePidFileIsNotTakenForAnAgent) {
  ASSERT_TRUE(make_directories(config_.agent_dir).is_ok());
  // This test's own pid, but of a process that started at another time.
  auto self = identify(::getpid());
  ASSERT_TRUE(self.is_ok());
  const std::string json = "{\"pid\":\"" + std::to_string(self->pid) + "\",\"start_ticks\":\"" +
                           std::to_string(self->start_ticks + 1) + "\",\"boot_id\":\"" + self->boot_id + "\"}";
  ASSERT_TRUE(write_file_durably(config_.agent_dir / "agent.pid.json", json).is_ok());
  EXPECT_FALSE(running());
}

TEST_F(LocalProviderTest, AKilledAgentIsFollowedByAnotherWhichOutlivesItsKeeper) {
  ProcessId last;
  {
    LocalAgentKeeper keeper{LocalProvider(config_), Duration::millis(1)};
    for (int life = 0; life < 3; ++life) {
      ASSERT_TRUE(eventually([&] { return running().has_value() && *running() != last; }));
      last = *running();
      ASSERT_TRUE(send_signal(*open_process(last), life == 0 ? SIGTERM : SIGKILL).is_ok());
    }
    ASSERT_TRUE(eventually([&] { return running().has_value() && *running() != last; }));
    last = *running();
  }
  EXPECT_EQ(running(), last);
}

TEST_F(LocalProviderTest, AMissingAgentProgramIsSaid) {
  config_.agent = dir_ / "no-agent";
  EXPECT_THAT(LocalProvider(config_).ensure_running().message(),
              ::testing::HasSubstr("no-agent: No such file or directory"));
}

}  // namespace
}  // namespace freshet
