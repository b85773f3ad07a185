// The train task: data in memory, transform, model, training, checkpoint.
#include <exception>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "worker/checkpoint/model_artifact.h"
#include "worker/data/table.h"
#include "worker/task/task.h"
#include "worker/train/trainer.h"

namespace freshet::worker {
namespace {

// Twenty points a second are enough for any curve, and the ring is never the bottleneck.
constexpr Duration kReportEvery = Duration::millis(50);

struct Prepared {
  Transform transform;
  TabularModel model;
  EncodedRows rows;
  std::vector<float> parameters;
};

Result<Prepared> prepare(const TaskContext& context) {
  const auto& task = context.attempt.train();
  if (!task.step().has_tabular()) return invalid_argument("the train step has no model: set its `tabular`");
  const auto& wanted = task.step().tabular();

  std::optional<ModelArtifact> previous;
  if (!task.warm_start().path().empty()) {
    ASSIGN_OR_RETURN(previous, load_model(task.warm_start().path()));
    if (!previous->transform.same_features(wanted)) {
      log_info("train", "the features have changed: starting from the seed, not from the champion");
      previous.reset();
    }
  }
  ASSIGN_OR_RETURN(auto data, without_entries(task.data(), {task.holdout().begin(), task.holdout().end()}));
  ASSIGN_OR_RETURN(Table table, Table::read(data, required_columns(wanted), context.threads));
  ASSIGN_OR_RETURN(Transform transform, Transform::fit(wanted, table, previous ? &previous->transform : nullptr));
  ASSIGN_OR_RETURN(EncodedRows rows, transform.encode(table));
  ASSIGN_OR_RETURN(TabularModel model, TabularModel::create(TabularShape::of(transform)));
  std::vector<float> parameters(model.parameters());
  model.initialise(context.attempt.seed(), parameters.data());
  if (previous) {
    ASSIGN_OR_RETURN(parameters, warm_start(model, std::move(parameters), *previous));
  }
  return Prepared{std::move(transform), std::move(model), std::move(rows), std::move(parameters)};
}

// Turns steps into metrics, a limited number a second; the first and the last step are always among them.
class StepMetrics {
 public:
  StepMetrics(Reporter* reporter, double learning_rate)
      : reporter_(*reporter), learning_rate_(learning_rate), last_(clock_.monotonic()) {}

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
    reporter_.metric("learning_rate", learning_rate_, at);
    reporter_.metric("step_seconds", seconds / static_cast<double>(steps_), at);
    if (seconds > 0) reporter_.metric("examples_per_second", static_cast<double>(rows_) / seconds, at);
    last_ = now;
    rows_ = 0;
    steps_ = 0;
  }

 private:
  SystemClock clock_;
  Reporter& reporter_;
  const double learning_rate_;
  Time last_;
  size_t rows_ = 0, steps_ = 0;
};

}  // namespace

Status run_train(const TaskContext& context) {
  const auto& attempt = context.attempt;
  bool first_rank = context.comm.rank() == 0;
  ASSIGN_OR_RETURN(TrainOptions options, TrainOptions::of(attempt.train().step(), attempt.seed()));
  // Joining the gang and reading the data take about as long as each other.
  Result<Prepared> prepared = internal("not prepared");
  std::thread reader([&] {
    try {
      prepared = prepare(context);
    } catch (const std::exception& error) {
      prepared = internal(error.what());
    }
  });
  Status started = context.comm.start();
  reader.join();
  RETURN_IF_ERROR(started);
  RETURN_IF_ERROR(context.comm.agree(prepared.status()));
  const TabularModel& model = prepared->model;
  if (first_rank) RETURN_IF_ERROR(context.reporter.milestone("decoded"));

  v1::CheckpointInfo checkpoint;
  checkpoint.set_initial_weights_digest(weights_digest(model.tensors(), prepared->parameters.data()));
  ThreadPool pool(context.threads);
  ASSIGN_OR_RETURN(Trainer trainer,
                   Trainer::create(model, options, &context.comm, &pool, std::move(prepared->parameters)));
  if (first_rank) {
    context.reporter.metric("total_steps", static_cast<double>(Trainer::steps_of(options, prepared->rows.rows)), 0);
  }
  StepMetrics metrics(&context.reporter, options.learning_rate);
  RETURN_IF_ERROR(trainer.run(prepared->rows, [&](const StepResult& step) -> Status {
    if (!first_rank) return Status::ok();
    metrics.on_step(step);
    return step.step == 1 ? context.reporter.milestone("first_step") : Status::ok();
  }));
  if (first_rank) RETURN_IF_ERROR(context.reporter.milestone("trained"));

  ASSIGN_OR_RETURN(auto optimizer, trainer.gather_optimizer_state());
  if (!first_rank) return Status::ok();
  checkpoint.set_step(trainer.steps_done());
  checkpoint.set_epoch(options.epochs);  // all passes are done: the next would start at their first row
  checkpoint.set_cursor(0);
  checkpoint.set_seed(attempt.seed());
  ASSIGN_OR_RETURN(auto output, save_model(attempt.output_dir(), prepared->transform, model, trainer.parameters(),
                                           optimizer.m, optimizer.v, checkpoint));
  return context.reporter.produced(output);
}

}  // namespace freshet::worker
