// A stand-in for freshet-worker in the agent's tests: says hello, receives its attempt, and does what the attempt's
// step is called. It is a program of its own, started by real supervisors, also under mpirun.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "base/check.h"
#include "base/file.h"
#include "base/metric_ring.h"
#include "base/sha256.h"
#include "base/time.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"
#include "proto/frame.h"
#include "proto/json.h"

namespace {

namespace fs = std::filesystem;
using namespace freshet;

void must(const Status& status) { CHECK_MSG(status.is_ok(), status.to_string()); }

uint32_t own_rank() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return rank == nullptr ? 0 : static_cast<uint32_t>(std::atoi(rank));
}

int connect_to(const std::string& path) {
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  CHECK(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  CHECK(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

void send_milestone(int fd, const std::string& name) {
  v1::RankFrame frame;
  frame.mutable_milestone()->set_name(name);
  frame.mutable_milestone()->set_time_us(SystemClock().now().us);
  must(write_frame(fd, frame));
}

// One file "model.bin" that says `content`, sealed as a worker does it.
void produce_model(int fd, const v1::AttemptSpec& attempt, const std::string& content, bool lie) {
  const fs::path part = fs::path(attempt.output_dir()) / "model.tmp";
  const fs::path dir = fs::path(attempt.output_dir()) / "model";
  must(make_directories(part));
  must(write_file_durably(part / "model.bin", content));
  v1::ArtifactManifest manifest;
  manifest.set_type("model");
  auto* file = manifest.add_files();
  file->set_name("model.bin");
  file->set_size(content.size());
  file->set_sha256(Sha256::hex_of(content));
  const std::string bytes = to_canonical_json(manifest);
  must(write_file_durably(part / "manifest.json", bytes));
  fs::rename(part, dir);
  v1::RankFrame frame;
  auto* output = frame.mutable_output();
  output->set_name("model");
  output->set_type("model");
  output->set_path(dir.string());
  output->set_digest(lie ? Sha256::hex_of("something else") : Sha256::hex_of(bytes));
  must(write_frame(fd, frame));
}

[[noreturn]] void run_until_killed() {
  for (;;) ::pause();
}

// The marks that tests wait for and set: files in the gang's own directory.
void await_file(const v1::AttemptSpec& attempt, const std::string& name) {
  while (!fs::exists(fs::path(attempt.output_dir()) / name)) ::usleep(2000);
}

int act(int fd, const v1::AttemptSpec& attempt, uint32_t rank, const std::string& socket) {
  const std::string& step = attempt.work().step();
  if (step == "train" || step == "wait-then-train" || step == "lie") {
    auto ring = MetricRing::open(attempt.metric_ring());
    must(ring.status());
    send_milestone(fd, "decoded");
    for (int i = 1; i <= 100; ++i) ring->push("loss", 1.0 / i, i, SystemClock().now().us);
    if (step == "wait-then-train") await_file(attempt, "go");
    produce_model(fd, attempt, "weights", step == "lie");
    send_milestone(fd, "trained");
    return 0;
  }
  if (step == "save-then-fail-once") {
    if (!fs::exists(attempt.checkpoint_dir())) {
      must(make_directories(attempt.checkpoint_dir()));
      return 1;
    }
    produce_model(fd, attempt, "weights", false);
    return 0;
  }
  if (step == "late-connection") {
    send_milestone(fd, "waiting");
    await_file(attempt, "go");
    send_milestone(connect_to(socket), "late");
    return 0;
  }
  if (step == "last-point") {
    auto ring = MetricRing::open(attempt.metric_ring());
    must(ring.status());
    ring->push("loss", 1, 1, SystemClock().now().us);
    // Time for the supervisor to take the first point, less than it waits for more: the second is left for the end.
    ::usleep(100'000);
    ring->push("loss", 0.5, 2, SystemClock().now().us);
    return 0;
  }
  if (step == "say-why") {
    v1::RankFrame frame;
    frame.mutable_failure()->set_rank(rank);
    frame.mutable_failure()->set_message("column delay is missing");
    must(write_frame(fd, frame));
    std::cerr << "noise that is not the reason\n";
    return 1;
  }
  if (step == "crash") ::raise(SIGSEGV);
  if (step == "rank-1-exits") {
    if (rank == 1) return 3;
    run_until_killed();
  }
  if (step == "rank-1-crashes") {
    if (rank == 1) ::raise(SIGSEGV);
    run_until_killed();
  }
  if (step == "hang") run_until_killed();
  if (step == "ignore-sigterm") {
    ::signal(SIGTERM, SIG_IGN);
    send_milestone(fd, "ignoring");
    run_until_killed();
  }
  if (step == "fork-300" || step == "fork-3000") {
    const int wanted = std::atoi(step.c_str() + 5);
    int forked = 0;
    for (; forked < wanted; ++forked) {
      const pid_t child = ::fork();
      if (child < 0) break;
      if (child > 0) continue;
      ::setsid();
      ::signal(SIGTERM, SIG_IGN);
      run_until_killed();
    }
    send_milestone(fd, "forked " + std::to_string(forked));
    run_until_killed();
  }
  if (step == "all-ranks") {
    std::cout << "rank " << rank << " epoch " << attempt.epoch() << "\n";
    return 0;
  }
  std::cerr << "test_worker: unknown step " << step << "\n";
  return 64;
}

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc == 3 && std::strcmp(argv[1], "--supervisor") == 0);
  const int fd = connect_to(argv[2]);
  const uint32_t rank = own_rank();
  v1::RankFrame hello;
  hello.mutable_hello()->set_rank(rank);
  must(write_frame(fd, hello));
  v1::SupervisorFrame answer;
  auto got = read_frame(fd, &answer);
  must(got.status());
  CHECK(*got);
  return act(fd, answer.attempt(), rank, argv[2]);
}
