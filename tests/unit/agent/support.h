// What the agent's tests share: temporary directories, attempts, a gang under a real supervisor, and a look at which
// processes are left. Everything waits on a condition with a deadline; nothing sleeps.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "agent/containment.h"
#include "agent/gang_files.h"
#include "agent/journal.h"
#include "agent/supervisor_process.h"
#include "base/metric_ring.h"
#include "base/process.h"
#include "base/random.h"
#include "base/status.h"
#include "base/time.h"
#include "tests/paths.h"

namespace freshet::agent {

namespace fs = std::filesystem;

template <class T>
T must(Result<T> result) {
  CHECK_MSG(result.is_ok(), result.status().to_string());
  return std::move(result).value();
}

inline void must(const Status& status) { CHECK_MSG(status.is_ok(), status.to_string()); }

class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "freshet-agent-test-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Looks again every 5 ms until the condition holds; false when 20 s were not enough.
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

inline void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// A shell script that can be started as a worker.
inline fs::path write_script(const fs::path& path, const std::string& body) {
  write_text(path, "#!/bin/sh\n" + body + "\n");
  CHECK(::chmod(path.c_str(), 0755) == 0);
  return path;
}

inline std::string text_of(const fs::path& path) {
  auto text = read_file(path);
  return text.is_ok() ? *text : std::string();
}

inline std::string random_gang_id() {
  SystemRandom random;
  return new_id(random);
}

// An attempt that starts the worker program; `step` tells test_worker what to do.
inline v1::AttemptSpec train_attempt(const std::string& step, uint32_t ranks = 1) {
  v1::AttemptSpec attempt;
  attempt.mutable_work()->set_project("default");
  attempt.mutable_work()->set_run_id("0123456789abcdef0123456789abcdef");
  attempt.mutable_work()->set_step(step);
  attempt.set_epoch(1);
  attempt.set_term(1);
  attempt.set_gang_id(random_gang_id());
  attempt.set_ranks(ranks);
  attempt.set_threads_per_rank(1);
  attempt.set_seed(7);
  attempt.mutable_train();
  return attempt;
}

inline v1::AttemptSpec shell_attempt(const std::string& script, uint32_t ranks = 1) {
  v1::AttemptSpec attempt = train_attempt("shell", ranks);
  auto* step = attempt.mutable_command()->mutable_step();
  for (const char* word : {"/bin/sh", "-c"}) step->add_argv(word);
  step->add_argv(script);
  return attempt;
}

// Code 0 alone says nothing: a rank killed by a signal has it too.
inline ::testing::AssertionResult succeeded(const v1::ExitRecord& exit) {
  if (exit.cause() == v1::ExitRecord::EXITED && exit.code() == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << exit.ShortDebugString();
}

// Living processes that carry the gang's marker. Zombies count: they are somebody's to reap.
inline std::vector<pid_t> processes_of(const std::string& gang_id) {
  std::vector<pid_t> found;
  const std::string marker = "FRESHET_GANG=" + gang_id;
  for (pid_t pid : must(all_processes())) {
    if (text_of("/proc/" + std::to_string(pid) + "/environ").find(marker) != std::string::npos) found.push_back(pid);
  }
  return found;
}

inline SupervisorProgram test_program(const fs::path& worker) {
  SupervisorProgram program;
  program.executable = fs::path(FRESHET_BINARY_DIR) / "freshet-agent";
  program.worker = worker;
  program.mpirun = "/usr/bin/mpirun";
  return program;
}

inline std::vector<v1::JournalEntry> read_journal(const fs::path& path) {
  JournalReader reader(path);
  std::vector<v1::JournalEntry> entries;
  while (auto entry = must(reader.next())) entries.push_back(std::move(*entry));
  return entries;
}

// A gang's directory as the agent would have made it, and its supervisor.
class TestGang {
 public:
  TestGang(const fs::path& agent_dir, v1::AttemptSpec spec, SupervisorProgram with)
      : attempt(std::move(spec)), files(agent_dir / "gangs" / attempt.gang_id()), program(std::move(with)) {
    must(make_directories(files.output()));
    attempt.set_output_dir(files.output().string());
    attempt.set_metric_ring(files.ring().string());
    must(MetricRing::create(files.ring(), 1024));
    must(write_message(files.attempt(), attempt));
  }

  // A test that failed half-way leaves nothing behind.
  ~TestGang() {
    if (Status status = kill_gang(attempt.gang_id()); !status.is_ok()) ADD_FAILURE() << status.to_string();
  }
  TestGang(const TestGang&) = delete;
  TestGang& operator=(const TestGang&) = delete;

  void start() { must(start_supervisor(program, files, attempt.gang_id())); }
  ProcessId supervisor() const { return *must(read_process(files.process())); }

  void stop(uint32_t grace_ms, const std::string& reason) {
    v1::StopAttempt stop;
    stop.set_grace_ms(grace_ms);
    stop.set_reason(reason);
    must(write_message(files.stop(), stop));
  }

  // Waits until the supervisor has ended; what it wrote.
  v1::ExitRecord wait() {
    ProcessId process = supervisor();
    process.cgroup.clear();  // which it leaves a moment before it ends
    EXPECT_TRUE(eventually([&] { return !is_running(process); })) << text_of(files.supervisor_log());
    v1::ExitRecord exit;
    Status status = read_message(files.exit(), &exit);
    EXPECT_TRUE(status.is_ok()) << status.to_string() << "\n" << text_of(files.supervisor_log());
    return exit;
  }

  v1::ExitRecord run() {
    start();
    return wait();
  }

  std::vector<v1::JournalEntry> journal() const { return read_journal(files.journal()); }

  v1::AttemptSpec attempt;
  GangFiles files;
  SupervisorProgram program;
};

}  // namespace freshet::agent
