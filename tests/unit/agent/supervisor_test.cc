// The supervisor as a real process, with real ranks: every way in which a gang can end, what is written about it, and
// that nothing of it is left.
#include "agent/supervisor.h"

#include <signal.h>

#include "agent/artifact_dir.h"
#include "tests/paths.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

using ::testing::HasSubstr;

const fs::path kTestWorker = fs::path(FRESHET_BINARY_DIR) / "test_worker";

std::vector<std::string> events(const std::vector<v1::JournalEntry>& journal) {
  std::vector<std::string> names;
  for (const auto& entry : journal) {
    switch (entry.event_case()) {
      case v1::JournalEntry::kStarted:
        names.push_back("started");
        break;
      case v1::JournalEntry::kMetrics:
        names.push_back("metrics");
        break;
      case v1::JournalEntry::kMilestone:
        names.push_back(entry.milestone().name());
        break;
      case v1::JournalEntry::kOutput:
        names.push_back("output " + entry.output().name());
        break;
      case v1::JournalEntry::kExit:
        names.push_back("exit");
        break;
      default:
        names.push_back("?");
    }
  }
  return names;
}

// With and without a cgroup: what a user sees must not differ.
class SupervisorTest : public ::testing::TestWithParam<bool> {
 protected:
  TestGang gang(v1::AttemptSpec attempt, const fs::path& worker = kTestWorker) {
    SupervisorProgram program = test_program(worker);
    program.allow_cgroup = GetParam();
    return TestGang(dir_.path(), std::move(attempt), std::move(program));
  }
  TestGang script_gang(const std::string& script) {
    return gang(train_attempt("script"), write_script(dir_.path() / "worker.sh", script));
  }
  // What the record must say on this machine, to whose groups the tests have access.
  static std::string expected_containment() {
    const CgroupLayout layout = read_cgroup_layout();
    const bool is_ours = layout.unified && ::access(layout.unified->c_str(), W_OK) == 0;
    return GetParam() && is_ours ? layout.name() : "session";
  }
  // Asks for the stop of a gang that forks without end; how many it got to.
  static int stop_fork_storm(TestGang& gang) {
    int forked = -1;
    gang.start();
    EXPECT_TRUE(eventually([&] {
      for (const auto& entry : gang.journal()) {
        if (entry.milestone().name().starts_with("forked ")) forked = std::stoi(entry.milestone().name().substr(7));
      }
      return forked >= 0;
    }));
    gang.stop(100, "enough");
    EXPECT_EQ(gang.wait().cause(), v1::ExitRecord::STOPPED);
    return forked;
  }
  static void expect_nothing_left(const TestGang& gang) {
    EXPECT_TRUE(eventually([&] { return processes_of(gang.attempt.gang_id()).empty(); }));
    EXPECT_FALSE(fs::exists(gang.files.socket()));
    EXPECT_FALSE(fs::exists(gang.files.temporary()));
    EXPECT_FALSE(fs::exists("/dev/shm/freshet-" + gang.attempt.gang_id()));
    for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"}) {
      EXPECT_FALSE(fs::exists(fs::path(mount) / "freshet" / gang.attempt.gang_id()));
    }
  }

  TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Containment, SupervisorTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "cgroup" : "session"; });

TEST_P(SupervisorTest, AGangThatSucceedsLeavesItsWholeStory) {
  TestGang gang = this->gang(train_attempt("train"));
  v1::ExitRecord exit = gang.run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::EXITED);
  EXPECT_TRUE(succeeded(exit));
  EXPECT_EQ(exit.message(), "");
  auto journal = gang.journal();
  auto names = events(journal);
  EXPECT_EQ(names.front(), "started");
  EXPECT_EQ(names.back(), "exit");
  EXPECT_THAT(names, ::testing::IsSupersetOf({"decoded", "output model", "trained", "metrics"}));
  int samples = 0;
  for (size_t i = 0; i < journal.size(); ++i) {
    EXPECT_EQ(journal[i].sequence(), i + 1);
    EXPECT_GT(journal[i].time_us(), 0);
    samples += journal[i].metrics().samples_size();
  }
  EXPECT_EQ(samples, 100);
  ASSERT_EQ(journal[0].started().processes_size(), 1);
  EXPECT_NE(journal[0].started().processes(0).start_ticks(), 0u);
  EXPECT_EQ(journal[0].started().containment(), expected_containment());
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, WhatARankSaysJustBeforeItEndsIsHeard) {
  TestGang gang = this->gang(train_attempt("late-connection"));
  gang.start();
  ASSERT_TRUE(eventually([&] { return gang.journal().size() >= 2; }));
  const pid_t rank = static_cast<pid_t>(gang.journal()[0].started().processes(0).pid());
  // While the supervisor is stopped, the rank connects once more, reports, and ends.
  const Fd supervisor = must(open_process(gang.supervisor()));
  must(send_signal(supervisor, SIGSTOP));
  write_text(gang.files.output() / "go", "");
  EXPECT_TRUE(eventually([&] { return must(process_stat(rank)).state == 'Z'; }));
  must(send_signal(supervisor, SIGCONT));
  EXPECT_TRUE(succeeded(gang.wait()));
  EXPECT_EQ(events(gang.journal()), (std::vector<std::string>{"started", "waiting", "late", "exit"}));
}

TEST_P(SupervisorTest, PointsThatAreLeftInTheRingAtTheEndAreKept) {
  TestGang gang = this->gang(train_attempt("last-point"));
  EXPECT_TRUE(succeeded(gang.run()));
  int samples = 0;
  for (const auto& entry : gang.journal()) samples += entry.metrics().samples_size();
  EXPECT_EQ(samples, 2);
}

TEST_P(SupervisorTest, AnExitCodeComesWithTheLastWordsOnStandardError) {
  TestGang gang = script_gang("echo out; echo 'no such column: delay' >&2; exit 3");
  v1::ExitRecord exit = gang.run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::EXITED);
  EXPECT_EQ(exit.code(), 3);
  EXPECT_EQ(exit.message(), "rank 0 exited with code 3: no such column: delay");
  EXPECT_EQ(text_of(gang.files.stdout_log()), "out\n");
  EXPECT_EQ(text_of(gang.files.stderr_log()), "no such column: delay\n");
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, AWorkerThatPrintsNothingIsSaidToHavePrintedNothing) {
  EXPECT_EQ(script_gang("exit 4").run().message(), "rank 0 exited with code 4 and printed nothing");
}

TEST_P(SupervisorTest, BytesThatAreNoTextDoNotBreakTheRecord) {
  TestGang gang = script_gang("printf 'bad \\377\\376 bytes' >&2; exit 1");
  EXPECT_EQ(gang.run().message(), "rank 0 exited with code 1: bad ?? bytes");
}

TEST_P(SupervisorTest, ARanksOwnWordsAreTheMessage) {
  v1::ExitRecord exit = gang(train_attempt("say-why")).run();
  EXPECT_EQ(exit.code(), 1);
  EXPECT_EQ(exit.message(), "column delay is missing");
}

TEST_P(SupervisorTest, ACrashNamesItsSignal) {
  v1::ExitRecord exit = gang(train_attempt("crash")).run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::SIGNALLED);
  EXPECT_EQ(exit.signal(), SIGSEGV);
  EXPECT_THAT(exit.message(), HasSubstr("rank 0 was killed by SIGSEGV"));
}

TEST_P(SupervisorTest, ASigkillFromOutsideHasNoKnownCause) {
  v1::ExitRecord exit = script_gang("kill -9 $$").run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::SIGNALLED);
  EXPECT_EQ(exit.signal(), SIGKILL);
  EXPECT_EQ(exit.message(), "rank 0 was killed by SIGKILL, cause unknown and printed nothing");
}

TEST_P(SupervisorTest, AMissingWorkerIsAFailedStart) {
  v1::ExitRecord exit = gang(train_attempt("train"), dir_.path() / "no-worker").run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::START_FAILED);
  EXPECT_THAT(exit.message(), HasSubstr("no-worker: No such file or directory"));
}

TEST_P(SupervisorTest, AUsersMissingProgramIsTheUsersFault) {
  v1::AttemptSpec attempt = shell_attempt("");
  attempt.mutable_command()->mutable_step()->set_argv(0, "no-such-program");
  v1::ExitRecord exit = gang(attempt).run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::EXITED);
  EXPECT_EQ(exit.code(), 127);
  EXPECT_THAT(exit.message(), HasSubstr("cannot start no-such-program: No such file or directory"));
}

TEST_P(SupervisorTest, AHelperInASessionOfItsOwnDiesWithTheGang) {
  TestGang gang = script_gang(
      "setsid sh -c 'trap \"\" TERM HUP; echo $$ > helper.pid; exec 0<&- 1>&- 2>&-; while :; do sleep 1000; done' &\n"
      "while ! [ -s helper.pid ]; do :; done; exit 5");
  EXPECT_EQ(gang.run().code(), 5);
  const pid_t helper = static_cast<pid_t>(std::stol(text_of(gang.files.dir / "helper.pid")));
  EXPECT_FALSE(process_stat(helper).is_ok());
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, AStopIsHeardAndItsReasonKept) {
  TestGang gang = this->gang(train_attempt("hang"));
  gang.start();
  ASSERT_TRUE(eventually([&] { return !gang.journal().empty(); }));
  gang.stop(20'000, "superseded by run 7");
  v1::ExitRecord exit = gang.wait();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::STOPPED);
  EXPECT_EQ(exit.signal(), SIGTERM);
  EXPECT_EQ(exit.message(), "stopped: superseded by run 7");
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, WhoIgnoresSigtermIsKilledAfterTheGrace) {
  TestGang gang = this->gang(train_attempt("ignore-sigterm"));
  gang.start();
  ASSERT_TRUE(eventually([&] { return gang.journal().size() >= 2; }));
  gang.stop(100, "enough");
  v1::ExitRecord exit = gang.wait();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::STOPPED);
  EXPECT_EQ(exit.signal(), SIGKILL);
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, OfAForkStormInSessionsOfItsOwnNothingIsLeft) {
  TestGang gang = this->gang(train_attempt("fork-300"));
  EXPECT_EQ(stop_fork_storm(gang), 300);
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, AForkStormEndsAtTheLimitOfTheGang) {
  const CgroupLayout layout = read_cgroup_layout();
  if (expected_containment() == "session" || !layout.pids) GTEST_SKIP() << "nothing counts processes here";
  TestGang gang = this->gang(train_attempt("fork-3000"));
  // 1024, and 68 for a rank with one thread; the rank itself is one of them.
  EXPECT_EQ(stop_fork_storm(gang), 1091);
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, AStopBeforeTheStartStartsNothing) {
  TestGang gang = script_gang("touch ran");
  gang.stop(100, "withdrawn");
  v1::ExitRecord exit = gang.run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::STOPPED);
  EXPECT_FALSE(fs::exists(gang.files.dir / "ran"));
  EXPECT_EQ(events(gang.journal()), (std::vector<std::string>{"exit"}));
}

TEST_P(SupervisorTest, TheTimeLimitEndsAGang) {
  v1::AttemptSpec attempt = train_attempt("hang");
  attempt.set_timeout_s(1);
  TestGang gang = this->gang(attempt);
  v1::ExitRecord exit = gang.run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::TIMED_OUT);
  EXPECT_EQ(exit.message(), "ran longer than its limit of 1 s");
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, AnOutputThatIsNotWhatItSaysIsNoSuccess) {
  TestGang gang = this->gang(train_attempt("lie"));
  v1::ExitRecord exit = gang.run();
  EXPECT_EQ(exit.code(), 1);
  EXPECT_THAT(exit.message(), HasSubstr("its output \"model\" is not whole"));
  EXPECT_THAT(events(gang.journal()), ::testing::Not(::testing::Contains("output model")));
}

TEST_P(SupervisorTest, ACommandGetsItsEnvironmentAndItsDeclaredOutputsAreSealed) {
  v1::AttemptSpec attempt = shell_attempt(
      "mkdir -p $FRESHET_OUTPUT_DIR/scores/sub && echo $MLFLOW_RUN_ID > $FRESHET_OUTPUT_DIR/scores/id && "
      "cp $FRESHET_DATASET $FRESHET_OUTPUT_DIR/scores/sub/data.json && test $FRESHET_SEED = 7 && test -z "
      "\"$SLURM_JOB_ID\"");
  ::setenv("SLURM_JOB_ID", "12", 1);
  auto* variable = attempt.mutable_command()->add_environment();
  variable->set_name("MLFLOW_RUN_ID");
  variable->set_value("abc");
  auto* output = attempt.mutable_command()->mutable_step()->add_outputs();
  output->set_name("scores");
  output->set_type("report");
  TestGang gang = this->gang(attempt);
  v1::ExitRecord exit = gang.run();
  ::unsetenv("SLURM_JOB_ID");
  EXPECT_TRUE(succeeded(exit)) << exit.message();
  v1::ProducedOutput produced;
  for (const auto& entry : gang.journal()) {
    if (entry.has_output()) produced = entry.output();
  }
  EXPECT_EQ(produced.type(), "report");
  v1::ArtifactManifest manifest = must(check_artifact(produced.path(), produced.digest(), true));
  ASSERT_EQ(manifest.files_size(), 2);
  EXPECT_EQ(manifest.files(0).name(), "id");
  EXPECT_EQ(manifest.files(1).name(), "sub/data.json");
  EXPECT_EQ(text_of(fs::path(produced.path()) / "id"), "abc\n");
}

TEST_P(SupervisorTest, ACommandWithoutItsDeclaredOutputIsNoSuccess) {
  v1::AttemptSpec attempt = shell_attempt("exit 0");
  attempt.mutable_command()->mutable_step()->add_outputs()->set_name("scores");
  v1::ExitRecord exit = gang(attempt).run();
  EXPECT_EQ(exit.code(), 1);
  EXPECT_THAT(exit.message(), HasSubstr("it left no directory \"scores\" in $FRESHET_OUTPUT_DIR"));
}

TEST_P(SupervisorTest, TwoRanksUnderMpirunReceiveTheirAttempt) {
  TestGang gang = this->gang(train_attempt("all-ranks", 2));
  v1::ExitRecord exit = gang.run();
  EXPECT_TRUE(succeeded(exit)) << exit.message();
  const std::string out = text_of(gang.files.stdout_log());
  EXPECT_THAT(out, HasSubstr("rank 0 epoch 1"));
  EXPECT_THAT(out, HasSubstr("rank 1 epoch 1"));
  // mpirun first, then with the ranks once all have reported.
  auto journal = gang.journal();
  ASSERT_EQ(events(journal), (std::vector<std::string>{"started", "started", "exit"}));
  EXPECT_EQ(journal[0].started().processes_size(), 1);
  ASSERT_EQ(journal[1].started().processes_size(), 3);
  EXPECT_EQ(journal[1].started().processes(2).rank(), 1u);
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, TheRankThatFailedUnderMpirunIsNamed) {
  v1::ExitRecord exit = gang(train_attempt("rank-1-exits", 2)).run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::EXITED);
  EXPECT_EQ(exit.code(), 3);
  EXPECT_EQ(exit.message(), "rank 1 exited with code 3 and printed nothing");
}

TEST_P(SupervisorTest, TheRankThatCrashedUnderMpirunIsNamed) {
  TestGang gang = this->gang(train_attempt("rank-1-crashes", 2));
  v1::ExitRecord exit = gang.run();
  EXPECT_EQ(exit.cause(), v1::ExitRecord::SIGNALLED);
  EXPECT_EQ(exit.signal(), SIGSEGV);
  EXPECT_THAT(exit.message(), HasSubstr("rank 1 was killed by SIGSEGV"));
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, APathTooLongForASocketIsNoHindrance) {
  const fs::path deep = dir_.path() / std::string(80, 'x');
  SupervisorProgram program = test_program(kTestWorker);
  program.allow_cgroup = GetParam();
  TestGang gang(deep, train_attempt("train"), program);
  EXPECT_TRUE(succeeded(gang.run()));
}

TEST_P(SupervisorTest, ASecondStartOfTheSameGangStartsNoSecondRank) {
  TestGang gang = script_gang("echo once >> ran; exit 0");
  EXPECT_TRUE(succeeded(gang.run()));
  gang.start();
  EXPECT_TRUE(eventually([&] { return processes_of(gang.attempt.gang_id()).empty(); }));
  EXPECT_EQ(text_of(gang.files.dir / "ran"), "once\n");
  EXPECT_EQ(events(gang.journal()), (std::vector<std::string>{"started", "exit"}));
}

TEST_P(SupervisorTest, AKilledSupervisorLeavesNoProcessOnceTheGangIsRecordedAsLost) {
  TestGang gang = script_gang("setsid sleep 1000 & sleep 1000");
  gang.start();
  ASSERT_TRUE(eventually([&] { return !gang.journal().empty() && processes_of(gang.attempt.gang_id()).size() >= 4; }));
  must(send_signal(must(open_process(gang.supervisor())), SIGKILL));
  ASSERT_TRUE(eventually([&] { return !is_running(gang.supervisor()); }));
  SystemClock clock;
  must(record_lost(gang.files, gang.attempt.gang_id(), "supervisor died: cause unknown", std::nullopt, clock));
  EXPECT_TRUE(eventually([&] { return processes_of(gang.attempt.gang_id()).empty(); }));
  auto journal = gang.journal();
  EXPECT_EQ(events(journal), (std::vector<std::string>{"started", "exit"}));
  EXPECT_EQ(journal.back().exit().cause(), v1::ExitRecord::LOST);
  // Once is enough.
  must(record_lost(gang.files, gang.attempt.gang_id(), "again", std::nullopt, clock));
  EXPECT_EQ(gang.journal().size(), 2u);
}

TEST_P(SupervisorTest, AKilledSupervisorOfSeveralRanksLeavesNoSharedMemory) {
  TestGang gang = this->gang(train_attempt("hang", 2));
  gang.start();
  ASSERT_TRUE(eventually([&] { return gang.journal().size() >= 2; }));
  const fs::path shared_memory = "/dev/shm/freshet-" + gang.attempt.gang_id();
  EXPECT_TRUE(fs::exists(shared_memory));
  must(send_signal(must(open_process(gang.supervisor())), SIGKILL));
  SystemClock clock;
  must(record_lost(gang.files, gang.attempt.gang_id(), "supervisor died: cause unknown", std::nullopt, clock));
  EXPECT_TRUE(eventually([&] { return processes_of(gang.attempt.gang_id()).empty(); }));
  EXPECT_FALSE(fs::exists(shared_memory));
}

TEST_P(SupervisorTest, AnExitFileThatCannotBeWrittenDoesNotStopTheCleaningUp) {
  TestGang gang = this->gang(train_attempt("train"));
  must(make_directories(gang.files.exit()));  // a directory where the file should be
  gang.start();
  EXPECT_TRUE(eventually([&] { return !is_running(gang.supervisor()); }));
  EXPECT_TRUE(succeeded(gang.journal().back().exit()));
  expect_nothing_left(gang);
}

TEST_P(SupervisorTest, ATermSignalToTheSupervisorIsTheNodesFaultNotAStop) {
  TestGang gang = this->gang(train_attempt("hang"));
  gang.start();
  ASSERT_TRUE(eventually([&] { return !gang.journal().empty(); }));
  must(send_signal(must(open_process(gang.supervisor())), SIGTERM));
  EXPECT_EQ(gang.wait().cause(), v1::ExitRecord::LOST);
  expect_nothing_left(gang);
}

}  // namespace
}  // namespace freshet::agent
