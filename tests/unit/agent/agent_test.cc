// The agent against a daemon in memory, with real supervisors and ranks: promises, launches, journals, uploads, and
// what happens when the daemon, the agent or a supervisor goes away.
#include "agent/agent.h"

#include <signal.h>

#include <thread>

#include "agent/checkpoint_dirs.h"
#include "agent/supervisor.h"
#include "tests/paths.h"
#include "tests/unit/agent/fake_network.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

using ::testing::HasSubstr;

const fs::path kTestWorker = fs::path(FRESHET_BINARY_DIR) / "test_worker";

class AgentTest : public ::testing::Test {
 protected:
  ~AgentTest() override {
    stop_agent();
    for (const auto& id : gangs_) {
      const GangFiles files(dir_.path() / "gangs" / id);
      if (fs::exists(files.attempt())) must(record_lost(files, id, "the test is over", std::nullopt, clock_));
      EXPECT_TRUE(eventually([&] { return processes_of(id).empty(); }));
    }
  }

  void start_agent(const fs::path& worker = kTestWorker) {
    AgentOptions options;
    options.dir = dir_.path();
    options.node = "node-a";
    options.slots = 4;
    options.program = test_program(worker);
    agent_ = must(Agent::open(options, network_, clock_, random_));
    thread_ = std::thread([this] { agent_->run(); });
  }
  void stop_agent() {
    if (!agent_) return;
    agent_->stop();
    thread_.join();
    agent_.reset();
  }
  // Answers the hello; `positions`: where the daemon is in which journal.
  v1::AgentHello welcome(uint64_t term = 1, const std::map<std::string, uint64_t>& positions = {}) {
    v1::AgentHello hello = network_.await_hello();
    v1::DaemonFrame frame;
    frame.mutable_welcome()->set_term(term);
    frame.mutable_welcome()->set_heartbeat_ms(50);
    for (const auto& [id, sequence] : positions) {
      auto* journal = frame.mutable_welcome()->add_journals();
      journal->set_gang_id(id);
      journal->set_sequence(sequence);
    }
    network_.send(frame);
    return hello;
  }
  v1::PrepareReply prepare(const v1::AttemptSpec& attempt, uint64_t term = 1) {
    v1::DaemonFrame frame;
    frame.mutable_prepare()->set_term(term);
    *frame.mutable_prepare()->mutable_work() = attempt.work();
    frame.mutable_prepare()->set_epoch(attempt.epoch());
    frame.mutable_prepare()->set_gang_id(attempt.gang_id());
    network_.send(frame);
    return network_.await([](const auto& sent) { return sent.has_prepared(); }).prepared();
  }
  v1::LaunchReply launch(const v1::AttemptSpec& attempt, uint64_t term = 1) {
    gangs_.push_back(attempt.gang_id());
    v1::DaemonFrame frame;
    frame.mutable_launch()->set_term(term);
    *frame.mutable_launch()->mutable_attempt() = attempt;
    network_.send(frame);
    return network_.await([](const auto& sent) { return sent.has_launched(); }).launched();
  }
  void run_gang(const v1::AttemptSpec& attempt) {
    EXPECT_EQ(prepare(attempt).error(), "");
    EXPECT_EQ(launch(attempt).error(), "");
  }
  void forget(const std::string& gang_id) {
    v1::DaemonFrame frame;
    frame.mutable_forget()->set_term(1);
    frame.mutable_forget()->set_gang_id(gang_id);
    network_.send(frame);
  }
  GangFiles files_of(const v1::AttemptSpec& attempt) const {
    return GangFiles(dir_.path() / "gangs" / attempt.gang_id());
  }
  bool await_entries(const v1::AttemptSpec& attempt, size_t count) {
    return eventually([&] { return network_.journal(attempt.gang_id()).size() >= count; });
  }

  TempDir dir_;
  SystemClock clock_;
  SeededRandom random_{11};
  FakeNetwork network_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  std::vector<std::string> gangs_;
};

TEST_F(AgentTest, ALaunchedGangReportsItsStoryAndItsOutputIsUploadedFirst) {
  start_agent();
  v1::AgentHello hello = welcome();
  EXPECT_EQ(hello.node(), "node-a");
  EXPECT_EQ(hello.slots(), 4u);
  EXPECT_EQ(hello.gangs_size(), 0);
  v1::AttemptSpec attempt = train_attempt("train");
  run_gang(attempt);
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
  EXPECT_TRUE(network_.in_order());
  bool has_output = false;
  for (const auto& [sequence, entry] : network_.journal(attempt.gang_id())) {
    if (!entry.has_output()) continue;
    has_output = true;
    EXPECT_TRUE(network_.has_artifact(entry.output().digest()));
  }
  EXPECT_TRUE(has_output);
  forget(attempt.gang_id());
  EXPECT_TRUE(eventually([&] { return !fs::exists(files_of(attempt).dir); }));
  EXPECT_TRUE(fs::exists(dir_.path() / "logs" / (attempt.gang_id() + ".stdout.log")));
  EXPECT_TRUE(fs::exists(dir_.path() / "logs" / (attempt.gang_id() + ".stderr.log")));
}

// What a failed attempt has saved is there for the next one, and goes away with the one that succeeds.
TEST_F(AgentTest, CheckpointsAreKeptUntilAnAttemptSucceeds) {
  start_agent();
  welcome();
  v1::AttemptSpec first = train_attempt("save-then-fail-once");
  first.mutable_train()->mutable_step()->set_checkpoints_in_memory(1);
  const fs::path saved = checkpoint_dir(dir_.path(), first.work());
  auto in_memory = make_checkpoint_memory_dir(dir_.path(), first.work());
  ASSERT_TRUE(in_memory.is_ok()) << in_memory.status().to_string();
  must(remove_checkpoints(dir_.path(), first.work()));
  run_gang(first);
  EXPECT_FALSE(succeeded(network_.await_exit(first.gang_id())));
  forget(first.gang_id());
  EXPECT_TRUE(eventually([&] { return !fs::exists(files_of(first).dir); }));
  EXPECT_TRUE(fs::exists(saved));
  EXPECT_TRUE(fs::exists(*in_memory));
  v1::AttemptSpec second = train_attempt("save-then-fail-once");
  second.set_epoch(2);
  run_gang(second);
  EXPECT_TRUE(succeeded(network_.await_exit(second.gang_id())));
  EXPECT_TRUE(fs::exists(saved));
  forget(second.gang_id());
  EXPECT_TRUE(eventually([&] { return !fs::exists(files_of(second).dir); }));
  EXPECT_FALSE(fs::exists(saved));
  EXPECT_FALSE(fs::exists(*in_memory));
}

TEST_F(AgentTest, HeartbeatsAreSent) {
  start_agent();
  welcome();
  for (int i = 0; i < 3; ++i) {
    EXPECT_GT(network_.await([](const auto& frame) { return frame.has_heartbeat(); }).heartbeat().sent_us(), 0);
  }
}

TEST_F(AgentTest, LaunchingTwiceIsOneLaunch) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = shell_attempt("echo once >> $FRESHET_OUTPUT_DIR/../ran");
  run_gang(attempt);
  EXPECT_EQ(launch(attempt).error(), "");
  EXPECT_EQ(prepare(attempt).error(), "");
  network_.await_exit(attempt.gang_id());
  EXPECT_EQ(launch(attempt).error(), "");
  EXPECT_EQ(text_of(files_of(attempt).dir / "ran"), "once\n");
}

TEST_F(AgentTest, AForgottenGangIsNotLaunchedByAFrameThatComesLate) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = shell_attempt("true");
  run_gang(attempt);
  network_.await_exit(attempt.gang_id());
  forget(attempt.gang_id());
  EXPECT_TRUE(eventually([&] { return !fs::exists(files_of(attempt).dir); }));
  EXPECT_THAT(launch(attempt).error(), HasSubstr("is over on this node"));
  EXPECT_THAT(prepare(attempt).error(), HasSubstr("is over on this node"));
  EXPECT_FALSE(fs::exists(files_of(attempt).dir));
}

TEST_F(AgentTest, AnOlderEpochIsRefusedAlsoByTheNextAgent) {
  start_agent();
  welcome();
  v1::AttemptSpec newer = train_attempt("train");
  newer.set_epoch(5);
  EXPECT_EQ(prepare(newer).error(), "");
  v1::AttemptSpec older = train_attempt("train");
  older.set_epoch(4);
  EXPECT_THAT(prepare(older).error(), HasSubstr("epoch 4 is refused: this node has accepted epoch 5"));
  v1::AttemptSpec rival = train_attempt("train");
  rival.set_epoch(5);
  EXPECT_THAT(prepare(rival).error(), HasSubstr("refused"));
  stop_agent();
  start_agent();
  welcome();
  EXPECT_THAT(prepare(older).error(), HasSubstr("refused"));
  EXPECT_THAT(launch(older).error(), HasSubstr("refused"));
  EXPECT_FALSE(fs::exists(files_of(older).dir));
  EXPECT_EQ(prepare(newer).error(), "");
}

TEST_F(AgentTest, WhatWasNotPreparedIsNotLaunched) {
  start_agent();
  welcome();
  EXPECT_THAT(launch(train_attempt("train")).error(), HasSubstr("was not prepared"));
}

TEST_F(AgentTest, AnOlderDaemonIsNotObeyed) {
  start_agent();
  welcome(7);
  v1::AttemptSpec attempt = train_attempt("train");
  EXPECT_THAT(prepare(attempt, 6).error(), HasSubstr("term 6"));
  network_.drop_connection();
  EXPECT_EQ(welcome(6).highest_term(), 7u);
  // It connects again instead of serving, until a daemon of at least its term is there.
  welcome(8);
  EXPECT_EQ(prepare(attempt, 8).error(), "");
}

TEST_F(AgentTest, ANewEpochStopsTheOldGangOfTheSameWork) {
  start_agent();
  welcome();
  v1::AttemptSpec old_attempt = train_attempt("hang");
  run_gang(old_attempt);
  ASSERT_TRUE(await_entries(old_attempt, 1));
  v1::AttemptSpec new_attempt = train_attempt("hang");
  new_attempt.set_epoch(2);
  EXPECT_EQ(prepare(new_attempt).error(), "");
  v1::ExitRecord exit = network_.await_exit(old_attempt.gang_id());
  EXPECT_EQ(exit.cause(), v1::ExitRecord::STOPPED);
  EXPECT_THAT(exit.message(), HasSubstr("epoch 2 takes its place"));
}

TEST_F(AgentTest, StopEndsAGangAndForgetStopsOneThatStillRuns) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("hang");
  run_gang(attempt);
  ASSERT_TRUE(await_entries(attempt, 1));
  v1::DaemonFrame frame;
  frame.mutable_stop()->set_term(1);
  frame.mutable_stop()->set_gang_id(attempt.gang_id());
  frame.mutable_stop()->set_grace_ms(10'000);
  frame.mutable_stop()->set_reason("cancelled by alice");
  network_.send(frame);
  EXPECT_EQ(network_.await_exit(attempt.gang_id()).message(), "stopped: cancelled by alice");

  v1::AttemptSpec fenced = train_attempt("hang");
  fenced.mutable_work()->set_run_id("fedcba9876543210fedcba9876543210");
  run_gang(fenced);
  ASSERT_TRUE(await_entries(fenced, 1));
  forget(fenced.gang_id());
  EXPECT_TRUE(eventually([&] { return !fs::exists(files_of(fenced).dir); }));
  EXPECT_TRUE(processes_of(fenced.gang_id()).empty());
}

TEST_F(AgentTest, GangsGoOnWhileTheDaemonIsAwayAndNothingOfThemIsLost) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("wait-then-train");
  run_gang(attempt);
  ASSERT_TRUE(await_entries(attempt, 2));
  const uint64_t known = network_.journal(attempt.gang_id()).rbegin()->first;
  network_.set_reachable(false);
  network_.drop_connection();
  const int before = network_.connection_attempts();
  write_text(files_of(attempt).output() / "go", "");
  ASSERT_TRUE(eventually([&] { return fs::exists(files_of(attempt).exit()); }));
  ASSERT_TRUE(eventually([&] { return network_.connection_attempts() >= before + 2; }));
  EXPECT_EQ(network_.journal(attempt.gang_id()).rbegin()->first, known);
  network_.set_reachable(true);
  v1::AgentHello hello = welcome(1, {{attempt.gang_id(), known}});
  ASSERT_EQ(hello.gangs_size(), 1);
  EXPECT_EQ(hello.gangs(0).gang_id(), attempt.gang_id());
  EXPECT_FALSE(hello.gangs(0).running());
  EXPECT_EQ(hello.gangs(0).epoch(), 1u);
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
  EXPECT_TRUE(network_.in_order());
  EXPECT_EQ(network_.repeated_entries(), 0);
  EXPECT_EQ(hello.gangs(0).journal_last(), network_.journal(attempt.gang_id()).rbegin()->first);
}

TEST_F(AgentTest, TheNextAgentPicksUpAGangThatStillRuns) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("wait-then-train");
  run_gang(attempt);
  ASSERT_TRUE(await_entries(attempt, 2));
  network_.drop_connection();
  stop_agent();
  start_agent();
  v1::AgentHello hello = welcome();
  ASSERT_EQ(hello.gangs_size(), 1);
  EXPECT_TRUE(hello.gangs(0).running());
  EXPECT_EQ(launch(attempt).error(), "");  // the daemon may ask again; the ranks are the same
  write_text(files_of(attempt).output() / "go", "");
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
  EXPECT_TRUE(network_.in_order());
}

TEST_F(AgentTest, AnExitWhileNoAgentRanIsNotLost) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("wait-then-train");
  run_gang(attempt);
  ASSERT_TRUE(await_entries(attempt, 2));
  network_.drop_connection();
  stop_agent();
  write_text(files_of(attempt).output() / "go", "");
  const ProcessId supervisor = *must(read_process(files_of(attempt).process()));
  ASSERT_TRUE(eventually([&] { return !is_running(supervisor); }));
  start_agent();
  EXPECT_FALSE(welcome().gangs(0).running());
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
}

TEST_F(AgentTest, AKilledSupervisorIsALostGangWithNoProcessLeft) {
  start_agent();
  welcome();
  v1::AttemptSpec attempt = shell_attempt("setsid sleep 1000 & sleep 1000");
  run_gang(attempt);
  ASSERT_TRUE(await_entries(attempt, 1));
  must(send_signal(must(open_process(*must(read_process(files_of(attempt).process())))), SIGKILL));
  v1::ExitRecord exit = network_.await_exit(attempt.gang_id());
  EXPECT_EQ(exit.cause(), v1::ExitRecord::LOST);
  EXPECT_EQ(exit.message(), "supervisor died: cause unknown");
  EXPECT_TRUE(eventually([&] { return processes_of(attempt.gang_id()).empty(); }));
}

TEST_F(AgentTest, UploadsAreTriedAgainAndHoldBackWhatFollows) {
  network_.set_uploads_fail(unavailable("disk of the daemon is full"));
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("train");
  run_gang(attempt);
  ASSERT_TRUE(eventually([&] { return network_.upload_attempts() >= 3; }));
  for (const auto& [sequence, entry] : network_.journal(attempt.gang_id())) {
    EXPECT_FALSE(entry.has_output() || entry.has_exit());
  }
  network_.set_uploads_fail(Status::ok());
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
  EXPECT_TRUE(network_.in_order());
}

TEST_F(AgentTest, AnOutputThatCanNeverBeStoredLosesTheAttempt) {
  network_.set_uploads_fail(invalid_argument("the file has another digest"));
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("train");
  run_gang(attempt);
  v1::ExitRecord exit = network_.await_exit(attempt.gang_id());
  EXPECT_EQ(exit.cause(), v1::ExitRecord::LOST);
  EXPECT_THAT(exit.message(), HasSubstr("output model could not be stored"));
  EXPECT_TRUE(network_.in_order());
}

TEST_F(AgentTest, ArtifactsAreOnTheNodeBeforeTheRanksStart) {
  const std::string digest = network_.add_artifact({{"model.safetensors", "weights"}, {"sub/transform.json", "{}"}});
  start_agent();
  welcome();
  v1::AttemptSpec attempt = shell_attempt("test \"$(cat $FRESHET_INPUTS/model.safetensors)\" = weights");
  attempt.mutable_command()->add_inputs()->set_digest(digest);
  run_gang(attempt);
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
  EXPECT_EQ(network_.downloads(), 2);
  v1::AttemptSpec second = attempt;
  second.set_gang_id(random_gang_id());
  second.set_epoch(2);
  run_gang(second);
  EXPECT_TRUE(succeeded(network_.await_exit(second.gang_id())));
  EXPECT_EQ(network_.downloads(), 2);
}

TEST_F(AgentTest, AnArtifactWithOtherBytesThanItsDigestIsNotUsed) {
  const std::string digest = network_.add_artifact({{"model.safetensors", "weights"}});
  network_.damage_artifact(digest, "model.safetensors");
  start_agent();
  welcome();
  v1::AttemptSpec attempt = train_attempt("train");
  attempt.mutable_train()->mutable_warm_start()->set_digest(digest);
  EXPECT_EQ(prepare(attempt).error(), "");
  EXPECT_THAT(launch(attempt).error(), HasSubstr("its manifest says"));
  EXPECT_TRUE(fs::is_empty(dir_.path() / "artifacts"));
  EXPECT_TRUE(eventually([&] { return !fs::exists(files_of(attempt).dir); }));
  // The epoch stays accepted: the same gang may be launched again once the bytes are right.
  network_.damage_artifact(digest, "model.safetensors");
  EXPECT_EQ(launch(attempt).error(), "");
  EXPECT_TRUE(succeeded(network_.await_exit(attempt.gang_id())));
}

TEST_F(AgentTest, OneDirectoryHasOneAgentAndOneName) {
  start_agent();
  AgentOptions options;
  options.dir = dir_.path();
  options.node = "node-a";
  EXPECT_THAT(Agent::open(options, network_, clock_, random_).status().message(),
              HasSubstr("another agent is running"));
  EXPECT_TRUE(is_running(*must(read_process(dir_.path() / "agent.pid.json"))));
  stop_agent();
  EXPECT_FALSE(fs::exists(dir_.path() / "agent.pid.json"));
  options.node = "node-b";
  EXPECT_THAT(Agent::open(options, network_, clock_, random_).status().message(), HasSubstr("belongs to node node-a"));
}

TEST_F(AgentTest, WhatIsHalfMadeOrHalfRemovedIsNoGang) {
  must(make_directories(dir_.path() / "gangs" / "half-made"));
  must(make_directories(dir_.path() / "gangs" / ".gone-0123"));
  start_agent();
  EXPECT_EQ(welcome().gangs_size(), 0);
  EXPECT_TRUE(fs::is_empty(dir_.path() / "gangs"));
}

}  // namespace
}  // namespace freshet::agent
