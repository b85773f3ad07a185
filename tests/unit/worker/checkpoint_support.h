// A small training with checkpoints, as the tests of checkpoints, guards and resuming run it. Tests only.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/unit/worker/synthetic.h"
#include "worker/checkpoint/checkpointer.h"
#include "worker/train/tabular_objective.h"
#include "worker/train/trainer.h"

namespace freshet::worker {

// 24 steps of 8 micro-batches: two passes of 12, the last batch of each short.
inline TrainOptions checkpointed_options() {
  TrainOptions options;
  options.seed = 17;
  options.epochs = 2;
  options.micro_batch_rows = 16;
  options.micro_batches = 8;
  options.learning_rate = 5e-3;
  options.weight_decay = 1e-3;
  options.clip_norm = 0.5;
  options.schedule = {Schedule::Kind::kCosine, 5, 0.1, 0};
  options.checkpoint_every_steps = 3;
  return options;
}
constexpr size_t kCheckpointedRows = 11 * 8 * 16 + 4 * 16 + 7;
constexpr uint64_t kCheckpointedSteps = 24;

// An objective whose gradients somebody may spoil.
class SpoiltObjective final : public Objective {
 public:
  SpoiltObjective(Objective* sound, std::function<void(uint64_t step, std::span<float> gradient)> spoil)
      : sound_(*sound), spoil_(std::move(spoil)) {}
  size_t parameters() const override { return sound_.parameters(); }
  size_t examples() const override { return sound_.examples(); }
  const std::vector<TensorView>& tensors() const override { return sound_.tensors(); }
  EmbeddingTables* tables() override { return sound_.tables(); }
  Status begin_step(std::span<const uint32_t> examples, uint64_t first, ThreadPool* pool) override {
    return sound_.begin_step(examples, first, pool);
  }
  Result<double> forward_backward(const MicroBatch& batch, float scale, const float* parameters, float* gradient,
                                  unsigned thread) override {
    auto loss = sound_.forward_backward(batch, scale, parameters, gradient, thread);
    if (spoil_) spoil_(batch.step, {gradient, sound_.parameters()});
    return loss;
  }
  Status update_tables(size_t leaves, float factor, ThreadPool* pool) override {
    return sound_.update_tables(leaves, factor, pool);
  }

 private:
  Objective& sound_;
  const std::function<void(uint64_t, std::span<float>)> spoil_;
};

struct CheckpointedRun {
  std::filesystem::path directory;         // empty: no checkpoints
  std::filesystem::path memory_directory;  // empty: on disk only
  uint64_t memory_left = 0;
  uint64_t epoch = 1;
  size_t kept = 2;
  // Each checkpoint is sealed before the step after the next begins, as if steps took long; else some fall out.
  bool slow_steps = true;
  TrainOptions options = checkpointed_options();
  bool binary = true;
  bool tables = false;  // trained row by row, apart
  EncodedRows rows = synthetic_rows(kCheckpointedRows);
  std::function<Status(const StepResult&)> on_step = [](const StepResult&) { return Status::ok(); };
  std::function<void(const SealedCheckpoint&)> on_sealed;
  std::function<void(uint64_t step, std::span<float> gradient)> spoil;  // none: nothing goes wrong
  std::function<void()> on_return = [] {};                              // to a checkpoint or to the start
  // What it came to.
  std::vector<float> weights, m, v, row_sums;  // with tables on rank 0 only
  std::vector<uint64_t> skipped, resumed_from;

  Status run(Communicator* comm, unsigned threads = 1) {
    ASSIGN_OR_RETURN(auto model, TabularModel::create(synthetic_shape(binary)));
    std::vector<float> parameters(model.parameters());
    model.initialise(options.seed, parameters.data());
    ThreadPool pool(threads);
    std::unique_ptr<EmbeddingTables> apart;
    if (tables) {
      apart = std::make_unique<EmbeddingTables>(std::span(model.tensors()).first(2),
                                                kernels::RowwiseAdagradStep{0.05F, 1e-8F}, comm, options.micro_batches,
                                                options.micro_batch_rows);
    }
    ASSIGN_OR_RETURN(auto objective,
                     TabularObjective::create(model, rows, options.micro_batch_rows, threads, std::move(apart)));
    SpoiltObjective spoilt(&objective, spoil);
    ASSIGN_OR_RETURN(auto trainer, Trainer::create(&spoilt, options, comm, &pool, std::move(parameters)));
    TrainHooks hooks;
    std::optional<Checkpointer> checkpoints;
    hooks.on_step = [&](const StepResult& result) -> Status {
      RETURN_IF_ERROR(on_step(result));
      return slow_steps && checkpoints ? checkpoints->finish() : Status::ok();
    };
    hooks.initial = [&](std::span<float> start) {
      on_return();
      model.initialise(options.seed, start.data());
      return Status::ok();
    };
    hooks.on_resume = [this](uint64_t step) {
      on_return();
      resumed_from.push_back(step);
    };
    if (!directory.empty()) {
      CheckpointOptions wanted;
      wanted.directory = directory;
      wanted.epoch = epoch;
      wanted.every_steps = options.checkpoint_every_steps;
      wanted.kept = kept;
      wanted.memory_directory = memory_directory;
      wanted.memory_left = memory_left;
      wanted.training.set_family("tabular");
      wanted.training.set_seed(options.seed);
      hooks.checkpoints = &checkpoints.emplace(wanted, model.tensors(), comm, on_sealed);
    }
    RETURN_IF_ERROR(trainer.run(hooks));
    skipped = trainer.skipped_steps();
    ASSIGN_OR_RETURN(auto state, trainer.gather_optimizer_state());
    ASSIGN_OR_RETURN(weights, trainer.take_parameters());
    row_sums = std::move(state.row_sums);
    m = std::move(state.m);
    v = std::move(state.v);
    return Status::ok();
  }
};

}  // namespace freshet::worker
