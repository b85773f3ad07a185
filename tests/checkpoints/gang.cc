// A gang of local ranks that trains a small model and saves it after nearly every step: what scripts/chaos checkpoints
// starts and kills. On standard output: "resumed N", "sealed N" (once it is promised) and at the end "weights DIGEST",
// a line at a time.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "tests/unit/worker/checkpoint_support.h"
#include "worker/comm/local.h"

namespace freshet::worker {
namespace {

constexpr const char* kUsage = "usage: freshet-checkpoint-gang DIRECTORY RANKS EPOCH slow|fast [MEMORY_DIRECTORY]\n";

// One write, so that a kill leaves no half line.
void say(const std::string& line) {
  std::string text = line + "\n";
  [[maybe_unused]] Status written = write_all(STDOUT_FILENO, text.data(), text.size());
}

Status train(Communicator& comm, const std::string& directory, const std::string& memory, uint64_t epoch,
             bool slow_steps) {
  CheckpointedRun run;
  run.directory = directory;
  run.memory_directory = memory;
  run.epoch = epoch;
  run.options.checkpoint_every_steps = 1;
  run.slow_steps = slow_steps;
  run.on_sealed = [](const SealedCheckpoint& sealed) { say("sealed " + std::to_string(sealed.step)); };
  RETURN_IF_ERROR(run.run(&comm));
  if (comm.rank() != 0) return Status::ok();
  if (!run.resumed_from.empty()) say("resumed " + std::to_string(run.resumed_from[0]));
  auto model = TabularModel::create(synthetic_shape());
  say("weights " + weights_digest(model->tensors(), run.weights.data()));
  return Status::ok();
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) {
  using namespace freshet::worker;
  if (argc != 5 && argc != 6) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const std::string directory = argv[1], memory = argc == 6 ? argv[5] : "";
  const uint64_t epoch = std::strtoull(argv[3], nullptr, 10);
  const bool slow_steps = std::string(argv[4]) == "slow";
  freshet::Status status = run_local_gang(
      std::atoi(argv[2]), [&](Communicator& comm) { return train(comm, directory, memory, epoch, slow_steps); });
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "freshet-checkpoint-gang: %s\n", status.message().c_str());
  return 1;
}
