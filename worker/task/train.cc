// The train task, whatever the model's family: data in memory, training, and the model as an artifact.
#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/time.h"
#include "proto/digest.h"
#include "worker/checkpoint/checkpointer.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/task/task.h"
#include "worker/task/training.h"
#include "worker/train/cpu_step.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

// Twenty points a second are enough for any curve, and the ring is never the bottleneck.
constexpr Duration kReportEvery = Duration::millis(50);

// What decides on the bits of a training, and nothing of where it runs.
std::string training_digest(const v1::TrainTask& given) {
  v1::TrainTask task = given;
  task.mutable_warm_start()->clear_path();
  return message_digest(task);
}

// `training`: what is known of it before it begins.
CheckpointOptions checkpoint_options(const TaskContext& context, const TrainOptions& options,
                                     const v1::CheckpointInfo& training) {
  CheckpointOptions wanted;
  wanted.directory = context.attempt.checkpoint_dir();
  wanted.epoch = context.attempt.epoch();
  wanted.every_steps = options.checkpoint_every_steps;
  wanted.every = Duration::seconds(static_cast<int64_t>(options.checkpoint_every_seconds));
  wanted.kept = options.checkpoints_kept;
  wanted.threads = context.threads;
  if (options.checkpoints_in_memory > 0) {
    wanted.memory_directory = context.attempt.checkpoint_memory_dir();
    wanted.kept_in_memory = options.checkpoints_in_memory;
  }
  wanted.training = training;
  wanted.training.set_training_digest(training_digest(context.attempt.train()));
  return wanted;
}

std::unique_ptr<Checkpointer> make_checkpointer(const TaskContext& context, CheckpointOptions wanted,
                                                const Training& model) {
  return std::make_unique<Checkpointer>(std::move(wanted), model.tensors(), &context.comm,
                                        [reporter = &context.reporter](const SealedCheckpoint& sealed) {
                                          auto at = static_cast<int64_t>(sealed.step);
                                          reporter->metric("checkpoint_stall_seconds", sealed.stall_seconds, at);
                                          reporter->metric("checkpoint_seconds", sealed.seconds, at);
                                          reporter->metric("checkpoint_bytes", static_cast<double>(sealed.bytes), at);
                                        });
}

// Which table of matrix products the accelerator goes by: that of the checkpoints that will be gone on from, else
// `recorded`, else the node's. Rank 0.
void choose_products(const TaskContext& context, const TrainOptions& options, const v1::CheckpointInfo& training,
                     std::optional<std::string> recorded) {
  if (options.has_checkpoints()) {
    auto begun_with = Checkpointer::products_of(checkpoint_options(context, options, training));
    if (!begun_with.is_ok()) log_warning("train", begun_with.status().message());
    if (begun_with.is_ok() && *begun_with) recorded = *std::move(begun_with);
  }
  const Status chosen = context.accelerator->use_products(std::move(recorded));
  if (!chosen.is_ok()) log_warning("train", "the node's own table is used: " + chosen.message());
}

// Turns steps into metrics, a limited number a second; the first and the last step are always among them.
class StepMetrics {
 public:
  explicit StepMetrics(Reporter* reporter) : reporter_(*reporter), last_(clock_.monotonic()) {}

  void on_step(const StepResult& step) {
    rows_ += step.rows;
    ++steps_;
    Time now = clock_.monotonic();
    Duration passed = now - last_;
    if (passed < kReportEvery && step.step != 1 && step.step != step.steps) return;
    auto at = static_cast<int64_t>(step.step);
    double seconds = passed.to_seconds();
    reporter_.metric("loss", step.loss, at);
    reporter_.metric("gradient_norm", step.gradient_norm, at);
    reporter_.metric("learning_rate", step.learning_rate, at);
    reporter_.metric("step_seconds", seconds / static_cast<double>(steps_), at);
    if (seconds > 0) reporter_.metric("examples_per_second", static_cast<double>(rows_) / seconds, at);
    last_ = now;
    rows_ = 0;
    steps_ = 0;
  }

 private:
  SystemClock clock_;
  Reporter& reporter_;
  Time last_;
  size_t rows_ = 0, steps_ = 0;
};

}  // namespace

Result<std::unique_ptr<Training>> prepare_training(const TaskContext& context) {
  switch (context.attempt.train().step().family_case()) {
    case v1::TrainStep::kTabular:
      return prepare_tabular(context);
    case v1::TrainStep::kGpt:
      return prepare_gpt(context);
    case v1::TrainStep::FAMILY_NOT_SET:
      break;
  }
  return invalid_argument("the train step has no model: set its `tabular` or `gpt`");
}

Status train_model(const TaskContext& context, const RecordedTraining& recorded, const KeepTrained& keep) {
  const auto& attempt = context.attempt;
  bool first_rank = context.comm.rank() == 0;
  ASSIGN_OR_RETURN(TrainOptions options, TrainOptions::of(attempt.train().step(), attempt.seed()));
  options.guards.skipped_steps = recorded.skipped_steps;
  if (options.has_checkpoints() && attempt.checkpoint_dir().empty()) {
    return invalid_argument(
        "the step wants checkpoints, but the attempt names no checkpoint_dir: use an agent of the "
        "worker's version");
  }
  // Joining the gang and reading the data take about as long as each other.
  Result<std::unique_ptr<Training>> prepared = internal("not prepared");
  std::vector<float> parameters;
  std::thread reader([&] {
    try {
      prepared = prepare_training(context);
      if (!prepared.is_ok()) return;
      if (auto initial = (*prepared)->initial_parameters(); initial.is_ok()) {
        parameters = *std::move(initial);
      } else {
        prepared = initial.status();
      }
    } catch (const std::exception& error) {
      prepared = internal(error.what());
    }
  });
  Status started = context.comm.start();
  reader.join();
  RETURN_IF_ERROR(started);
  RETURN_IF_ERROR(context.comm.agree(prepared.status()));
  Training& training = **prepared;
  if (first_rank) RETURN_IF_ERROR(context.reporter.milestone("decoded"));

  v1::CheckpointInfo checkpoint;
  checkpoint.set_family(training.family());
  checkpoint.set_seed(attempt.seed());
  checkpoint.set_initial_weights_digest(weights_digest(training.tensors(), parameters.data()));
  *checkpoint.mutable_numerics() = platform_fingerprint();
  ThreadPool pool(context.threads);
  std::unique_ptr<Objective> objective;  // of an engine on the CPU
  std::unique_ptr<StepEngine> engine;
  // On GPUs only where every rank has one.
  const Status has_one = context.accelerator != nullptr ? Status::ok() : unavailable("a rank has no GPU");
  std::string products;
  if (context.comm.agree(has_one).is_ok()) {
    if (first_rank) {
      v1::CheckpointInfo on_gpu = checkpoint;
      *on_gpu.mutable_numerics() = context.accelerator->numerics();
      on_gpu.mutable_numerics()->clear_products();
      choose_products(context, options, on_gpu, recorded.products);
    }
    auto made = training.engine_on(context.accelerator, options, &context.comm, parameters);
    RETURN_IF_ERROR(context.comm.agree(made.status()));
    engine = *std::move(made);
    if (engine) {
      *checkpoint.mutable_numerics() = context.accelerator->numerics();
      products = context.accelerator->products();
    }
  }
  if (!engine) {
    auto made = training.objective(options, pool.threads());
    RETURN_IF_ERROR(context.comm.agree(made.status()));
    objective = *std::move(made);
    engine = std::make_unique<CpuStep>(objective.get(), options, &context.comm, &pool, std::move(parameters));
  }
  const size_t examples = engine->examples();
  ASSIGN_OR_RETURN(Trainer trainer, Trainer::create(std::move(engine), options, &context.comm));
  if (first_rank) {
    context.reporter.metric("total_steps", static_cast<double>(Trainer::steps_of(options, examples)), 0);
  }
  StepMetrics metrics(&context.reporter);
  std::unique_ptr<Checkpointer> checkpoints;
  if (options.has_checkpoints()) {
    CheckpointOptions wanted = checkpoint_options(context, options, checkpoint);
    wanted.products = products;
    checkpoints = make_checkpointer(context, std::move(wanted), training);
  }
  bool is_first_step = true;
  TrainHooks hooks;
  hooks.checkpoints = checkpoints.get();
  hooks.on_step = [&](const StepResult& step) -> Status {
    if (!first_rank) return Status::ok();
    metrics.on_step(step);
    return std::exchange(is_first_step, false) ? context.reporter.milestone("first_step") : Status::ok();
  };
  hooks.initial = [&](std::span<float> start) -> Status {
    ASSIGN_OR_RETURN(auto initial, training.initial_parameters());
    std::copy(initial.begin(), initial.end(), start.begin());
    return Status::ok();
  };
  hooks.on_resume = [&](uint64_t step) {
    if (!first_rank) return;
    log_info("train", "resumed from step " + std::to_string(step));
    context.reporter.metric("resumed_from_step", static_cast<double>(step), static_cast<int64_t>(step));
  };
  hooks.on_skip = [&](uint64_t step) {
    if (first_rank) context.reporter.metric("skipped_step", 1, static_cast<int64_t>(step));
  };
  RETURN_IF_ERROR(trainer.run(hooks));
  if (first_rank) RETURN_IF_ERROR(context.reporter.milestone("trained"));

  ASSIGN_OR_RETURN(auto optimizer, trainer.gather_optimizer_state());
  ASSIGN_OR_RETURN(auto trained, trainer.take_parameters());
  if (!first_rank) return Status::ok();
  checkpoint.set_step(trainer.steps_done());
  checkpoint.set_epoch(options.epochs);  // all passes are done: the next would start at their first row
  checkpoint.set_cursor(0);
  for (uint64_t step : trainer.skipped_steps()) checkpoint.add_skipped_steps(step);
  return keep(training, {trained, optimizer.m, optimizer.v, optimizer.row_sums, products}, checkpoint);
}

Status run_train(const TaskContext& context) {
  return train_model(
      context, {}, [&](const Training& training, const TrainedWeights& weights, const v1::CheckpointInfo& checkpoint) {
        return keep_model(context, training, weights, checkpoint);
      });
}

Status keep_model(const TaskContext& context, const Training& training, const TrainedWeights& weights,
                  const v1::CheckpointInfo& checkpoint) {
  ASSIGN_OR_RETURN(auto output, training.save(context.attempt.output_dir(), weights, checkpoint));
  return context.reporter.produced(output);
}

}  // namespace freshet::worker
