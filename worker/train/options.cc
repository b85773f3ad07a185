#include "worker/train/options.h"

#include <string>

#include "proto/recipe.pb.h"

namespace freshet::worker {
namespace {

constexpr size_t kBatchRowsMax = size_t{1} << 28;

struct Bound {
  const char* name;
  double value;
  double low, high;  // low < value < high, or value == 0 where 0 is allowed
  bool zero;
};

}  // namespace

Result<TrainOptions> TrainOptions::of(const v1::TrainStep& step, uint64_t seed) {
  TrainOptions options;
  options.seed = seed;
  const auto& o = step.optimizer();
  auto take = [](double given, double* option) {
    if (given != 0) *option = given;
  };
  take(o.learning_rate(), &options.learning_rate);
  take(o.weight_decay(), &options.weight_decay);
  take(o.beta1(), &options.beta1);
  take(o.beta2(), &options.beta2);
  take(o.epsilon(), &options.epsilon);
  take(o.clip_norm(), &options.clip_norm);
  ASSIGN_OR_RETURN(options.schedule, Schedule::of(o.schedule()));
  if (o.has_embeddings()) {
    kernels::RowwiseAdagradStep& embeddings = options.embeddings.emplace();
    if (o.embeddings().learning_rate() != 0) {
      embeddings.learning_rate = static_cast<float>(o.embeddings().learning_rate());
    }
    if (o.embeddings().epsilon() != 0) embeddings.epsilon = static_cast<float>(o.embeddings().epsilon());
  }
  if (step.epochs() != 0) options.epochs = step.epochs();
  if (step.batch().micro_batch_rows() != 0) options.micro_batch_rows = step.batch().micro_batch_rows();
  if (step.batch().micro_batches() != 0) options.micro_batches = step.batch().micro_batches();

  for (const Bound& bound :
       {Bound{"learning_rate", options.learning_rate, 0, 1e6, false},
        Bound{"weight_decay", options.weight_decay, 0, 1e6, true}, Bound{"beta1", options.beta1, 0, 1, false},
        Bound{"beta2", options.beta2, 0, 1, false}, Bound{"epsilon", options.epsilon, 0, 1, false},
        Bound{"clip_norm", options.clip_norm, 0, 1e30, true}}) {
    bool inside = bound.value > bound.low && bound.value < bound.high;
    if (inside || (bound.zero && bound.value == 0)) continue;
    return invalid_argument("optimizer." + std::string(bound.name) + " is " + std::to_string(bound.value) +
                            "; it must be above 0 and below " + std::to_string(bound.high));
  }
  if (options.micro_batch_rows > kBatchRowsMax || options.micro_batches > kBatchRowsMax ||
      options.batch_rows() > kBatchRowsMax) {
    return invalid_argument("batch: micro_batch_rows times micro_batches is above " + std::to_string(kBatchRowsMax));
  }
  options.checkpoint_every_steps = step.checkpoint_every_steps();
  options.checkpoint_every_seconds = step.checkpoint_every_seconds();
  if (step.checkpoints_kept() != 0) options.checkpoints_kept = step.checkpoints_kept();
  options.checkpoints_in_memory = step.checkpoints_in_memory();
  const auto& guards = step.guards();
  if (guards.has_rollbacks_max()) options.guards.rollbacks_max = guards.rollbacks_max();
  if (guards.loss_window() != 0) options.guards.loss_window = guards.loss_window();
  options.guards.loss_spike_ratio = guards.loss_spike_ratio();
  if (options.guards.loss_spike_ratio != 0 && !(options.guards.loss_spike_ratio > 1)) {
    return invalid_argument("guards.loss_spike_ratio is " + std::to_string(options.guards.loss_spike_ratio) +
                            "; it must be above 1, or 0 for none");
  }
  return options;
}

}  // namespace freshet::worker
