// What the train task needs of a model's family: the data as an objective, where training starts, and how the result is
// kept. Made on every rank from the same attempt, and the same on each. One thread at a time; it outlives its
// objective.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/attempt.pb.h"
#include "worker/checkpoint/tensors.h"
#include "worker/checkpoint/weights.h"
#include "worker/task/accelerator.h"
#include "worker/task/task.h"
#include "worker/train/objective.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"

namespace freshet::worker {

class Training {
 public:
  virtual ~Training() = default;

  virtual std::string family() const = 0;
  virtual const std::vector<TensorView>& tensors() const = 0;

  // From the seed, or from the model that the task starts warm from. They are not kept here: a second call, which only
  // a training that starts over makes, reads that model again.
  virtual Result<std::vector<float>> initial_parameters() = 0;

  // What computes the training's steps on `accelerator`; null where that is the CPU's affair. Collective.
  virtual Result<std::unique_ptr<StepEngine>> engine_on(Accelerator* accelerator, const TrainOptions& options,
                                                        Communicator* comm, std::span<const float> parameters) {
    (void)accelerator, (void)options, (void)comm, (void)parameters;
    return std::unique_ptr<StepEngine>();
  }

  // invalid_argument when the data holds nothing to train on.
  virtual Result<std::unique_ptr<Objective>> objective(const TrainOptions& options, unsigned threads) = 0;

  // As output "model" below `output_dir`.
  virtual Result<v1::ProducedOutput> save(const std::filesystem::path& output_dir, const TrainedWeights& weights,
                                          const v1::CheckpointInfo& checkpoint) const = 0;
};

// What becomes of a trained model. `checkpoint` lacks what saving it would fill in.
using KeepTrained = std::function<Status(const Training& training, const TrainedWeights& weights,
                                         const v1::CheckpointInfo& checkpoint)>;

// What a training repeats of one that there is a record of.
struct RecordedTraining {
  std::vector<uint64_t> skipped_steps;  // whose batches are left out
  // Accelerator::use_products() of it, unless there is a checkpoint to go on from.
  std::optional<std::string> products;
};

// The attempt's train task on all ranks of the gang, which it starts; then `keep` on rank 0.
Status train_model(const TaskContext& context, const RecordedTraining& recorded, const KeepTrained& keep);

// As the attempt's output "model".
Status keep_model(const TaskContext& context, const Training& training, const TrainedWeights& weights,
                  const v1::CheckpointInfo& checkpoint);

// Reads the data. invalid_argument when the step names no family, or what in its data or model is wrong.
Result<std::unique_ptr<Training>> prepare_training(const TaskContext& context);

Result<std::unique_ptr<Training>> prepare_tabular(const TaskContext& context);
Result<std::unique_ptr<Training>> prepare_gpt(const TaskContext& context);

}  // namespace freshet::worker
