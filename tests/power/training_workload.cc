// A gang that trains and saves itself beside its work: a step that was said to be sealed is there after the cut, as it
// was written, and training goes on from it to the same weights.
#include <fstream>
#include <optional>

#include "tests/power/workload.h"
#include "tests/unit/worker/checkpoint_support.h"
#include "worker/comm/local.h"

namespace freshet::power {
namespace {

namespace fs = std::filesystem;
using worker::CheckpointDirectory;
using worker::CheckpointedRun;

constexpr int kRanks = 2;
constexpr uint64_t kEverySteps = 4;
constexpr int kLinesAStep = 10;

// Something to do between checkpoints, so that cuts fall there, too.
Status note(const fs::path& path, uint64_t step) {
  std::ofstream log(path, std::ios::app);
  for (int i = 0; i < kLinesAStep; ++i) log << step << std::endl;
  return log ? Status::ok() : unavailable("can't write " + path.string());
}

Status train(const fs::path& directory, worker::Communicator* comm, CheckpointedRun* run) {
  run->directory = directory;
  run->options.checkpoint_every_steps = kEverySteps;
  return run->run(comm);
}

class TrainingWorkload final : public Workload {
 public:
  Status record(const fs::path& root, uint64_t) override {
    return worker::run_local_gang(kRanks, [&](worker::Communicator& comm) {
      CheckpointedRun run;
      run.on_step = [&](const worker::StepResult& result) { return note(root / "losses", result.step); };
      run.on_sealed = [](const auto& sealed) { acknowledge("sealed " + std::to_string(sealed.step)); };
      return train(root / "checkpoints", &comm, &run);
    });
  }

  Status check(const fs::path& root, const std::vector<std::string>& acknowledged) override {
    const fs::path path = root / "checkpoints";
    const CheckpointDirectory directory(path, 1);
    ASSIGN_OR_RETURN(auto steps, directory.sealed());
    worker::ThreadPool pool(1);
    for (uint64_t step : steps) {
      RETURN_IF_ERROR(worker::verify_checkpoint(directory.sealed_path(step), 0, 1, &pool).status());
    }
    const uint64_t newest = steps.empty() ? 0 : steps.back();
    for (const auto& words : acknowledged_as(acknowledged, "sealed")) {
      if (std::stoull(words[0]) > newest) return corrupt("lost: the checkpoint of step " + words[0]);
    }
    ASSIGN_OR_RETURN(auto expected, expected_weights());
    worker::SingleCommunicator alone;
    CheckpointedRun rest;
    RETURN_IF_ERROR(train(path, &alone, &rest));
    const uint64_t resumed_from = rest.resumed_from.empty() ? 0 : rest.resumed_from[0];
    if (resumed_from != newest) {
      return corrupt("training went on from step " + std::to_string(resumed_from) + ", not " + std::to_string(newest));
    }
    return rest.weights == expected ? Status::ok() : corrupt("training went on to other weights");
  }

 private:
  Result<std::vector<float>> expected_weights() {
    if (!expected_) {
      worker::SingleCommunicator alone;
      CheckpointedRun whole;
      RETURN_IF_ERROR(whole.run(&alone));
      expected_ = std::move(whole.weights);
    }
    return *expected_;
  }

  std::optional<std::vector<float>> expected_;
};

}  // namespace

std::unique_ptr<Workload> make_training_workload() { return std::make_unique<TrainingWorkload>(); }

}  // namespace freshet::power
