// Where a worker's trainings compute what the CPU would take long for: a GPU. The tasks know only this; who made the
// worker with one (worker/gpu/gpu_accelerator.h) hands it in. One object per rank, on the thread that trains; it
// outlives the engines that it made, one at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "worker/comm/communicator.h"
#include "worker/model/gpt.h"
#include "worker/text/tokenizer.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"

namespace freshet::worker {

class Accelerator {
 public:
  virtual ~Accelerator() = default;

  // What decides on the bits of its engines, but for the engine's build.
  virtual v1::NumericsFingerprint numerics() const = 0;

  // The steps of a gpt's training from `parameters`, the same on all ranks; collective. Null, and a line in the log,
  // where this model is the CPU's affair. Model, tokens and `comm` outlive the engine.
  virtual Result<std::unique_ptr<StepEngine>> gpt_engine(const GptModel& model, const std::vector<Token>& tokens,
                                                         const TrainOptions& options, Communicator* comm,
                                                         std::span<const float> parameters) = 0;
};

}  // namespace freshet::worker
