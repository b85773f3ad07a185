// Where a worker computes what the CPU would take long for: a GPU. The tasks know only this; who made the worker with
// one (worker/gpu/gpu_accelerator.h) hands it in. One object per rank, on the thread that runs the task; it outlives
// the engines and scorers that it made, one at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "worker/comm/communicator.h"
#include "worker/data/encoded.h"
#include "worker/model/gpt.h"
#include "worker/model/tabular.h"
#include "worker/model/text_scorer.h"
#include "worker/text/tokenizer.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"

namespace freshet::worker {

class Accelerator {
 public:
  virtual ~Accelerator() = default;

  // What decides on the bits of its newest engine or scorer, but for the engine's build.
  virtual v1::NumericsFingerprint numerics() const = 0;

  // The table of matrix products (freshet-tune) that engines to come go by, on rank 0, whose table goes to all: its
  // text, empty for none; nullopt: the node's own. unavailable when it was tuned on another GPU or library,
  // invalid_argument when it is no table: then the node's own is taken.
  virtual Status use_products(std::optional<std::string> text) = 0;
  // What of it the newest engine or scorer goes by, likewise; the same on all ranks.
  virtual const std::string& products() const = 0;

  // The steps of a gpt's training from `parameters`, the same on all ranks; collective. Null, and a line in the log,
  // where this model is the CPU's affair. Model, tokens and `comm` outlive the engine.
  virtual Result<std::unique_ptr<StepEngine>> gpt_engine(const GptModel& model, const std::vector<Token>& tokens,
                                                         const TrainOptions& options, Communicator* comm,
                                                         std::span<const float> parameters) = 0;

  // The same of a tabular model that is to compute in bfloat16. The engine has a copy of the rows of its own.
  virtual Result<std::unique_ptr<StepEngine>> tabular_engine(const TabularModel& model, const EncodedRows& rows,
                                                             const TrainOptions& options, Communicator* comm,
                                                             std::span<const float> parameters) = 0;

  // Whether text_scorer() takes this model. Where it does not, a line in the log says why.
  virtual bool scores(const GptModel& model) const = 0;
  // Of the model with these parameters, which it does not need afterwards; the model outlives it. resource_exhausted
  // where the memory is taken.
  virtual Result<std::unique_ptr<TextScorer>> text_scorer(const GptModel& model, std::span<const float> parameters) = 0;
};

}  // namespace freshet::worker
