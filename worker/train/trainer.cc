#include "worker/train/trainer.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/log.h"
#include "worker/train/cpu_step.h"

namespace freshet::worker {

Result<Trainer> Trainer::create(std::unique_ptr<StepEngine> engine, const TrainOptions& options, Communicator* comm) {
  if (static_cast<size_t>(comm->size()) > options.micro_batches) {
    return invalid_argument("the gang has " + std::to_string(comm->size()) + " ranks but the batch has " +
                            std::to_string(options.micro_batches) +
                            " micro-batches: use fewer ranks or raise batch.micro_batches");
  }
  return Trainer(std::move(engine), options, comm);
}

Result<Trainer> Trainer::create(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
                                std::vector<float> parameters) {
  return create(std::make_unique<CpuStep>(objective, options, comm, pool, std::move(parameters)), options, comm);
}

Trainer::Trainer(std::unique_ptr<StepEngine> engine, const TrainOptions& options, Communicator* comm)
    : options_(options),
      comm_(comm),
      engine_(std::move(engine)),
      batches_a_pass_((engine_->examples() + options.batch_rows() - 1) / options.batch_rows()),
      steps_(steps_of(options, engine_->examples())),
      guards_(options.guards, engine_->is_late()) {}

uint64_t Trainer::steps_of(const TrainOptions& options, size_t examples) {
  return options.epochs * ((examples + options.batch_rows() - 1) / options.batch_rows());
}

Status Trainer::run(const TrainHooks& hooks) {
  if (hooks.checkpoints) RETURN_IF_ERROR(resume(hooks, false));
  const uint64_t ahead = engine_->is_late() ? 2 : 1;  // steps that may be under way
  while (step_ < steps_) {
    if (begun_ == steps_ || begun_ - step_ == ahead) {
      RETURN_IF_ERROR(end_step(hooks));
      continue;
    }
    if (hooks.checkpoints && asked_ < begun_) {
      ASSIGN_OR_RETURN(checkpoint_is_due_, hooks.checkpoints->is_due(begun_));
      asked_ = begun_;
    }
    // A checkpoint is of a step that is known to be good, and what is known of a step that is left out is known again
    // when it is trained again: both come when all is over that has begun.
    const bool is_skipped = guards_.is_skipped(begun_ + 1);
    if (begun_ > step_ && (checkpoint_is_due_ || is_skipped)) {
      RETURN_IF_ERROR(end_step(hooks));
      continue;
    }
    if (checkpoint_is_due_) {
      ASSIGN_OR_RETURN(TrainingSnapshot training, engine_->snapshot());
      hooks.checkpoints->begin(progress(), training);
      checkpoint_is_due_ = false;
    }
    if (is_skipped) {
      step_ = ++begun_;
    } else {
      RETURN_IF_ERROR(begin_step(hooks));
    }
  }
  return hooks.checkpoints ? hooks.checkpoints->finish() : Status::ok();
}

StepPlan Trainer::plan_of(uint64_t step) const {
  StepPlan plan;
  plan.step = step;
  plan.pass = (step - 1) / batches_a_pass_;
  plan.cursor = (step - 1) % batches_a_pass_ * options_.batch_rows();
  plan.rows = std::min<size_t>(options_.batch_rows(), engine_->examples() - plan.cursor);
  plan.learning_rate_factor = options_.schedule.factor(step, steps_);
  plan.learning_rate = options_.learning_rate * plan.learning_rate_factor;
  return plan;
}

Progress Trainer::progress() const {
  return {step_, step_ / batches_a_pass_, step_ % batches_a_pass_ * options_.batch_rows(), guards_.skipped(),
          guards_.recent_losses()};
}

Status Trainer::resume(const TrainHooks& hooks, bool may_start_over) {
  std::optional<Progress> found;
  RETURN_IF_ERROR(engine_->overwrite([&](const TrainingMemory& memory) -> Result<bool> {
    ASSIGN_OR_RETURN(found, hooks.checkpoints->restore(memory));
    return found.has_value();
  }));
  if (found) {
    step_ = found->step;
    guards_.restore(found->skipped, std::move(found->recent_losses), step_);
    Progress expected = progress();
    if (step_ >= steps_ || expected.pass != found->pass || expected.cursor != found->cursor) {
      return internal("the checkpoint of step " + std::to_string(step_) + " is at another place in the data");
    }
    if (hooks.on_resume) hooks.on_resume(step_);
  } else if (may_start_over) {
    step_ = 0;
    std::vector<float> initial(engine_->parameters());
    RETURN_IF_ERROR(comm_->agree(hooks.initial(initial)));
    RETURN_IF_ERROR(engine_->start_over(initial));
    guards_.restore({}, {});
  }
  begun_ = asked_ = step_;
  checkpoint_is_due_ = false;
  return Status::ok();
}

Status Trainer::begin_step(const TrainHooks& hooks) {
  StepPlan plan = plan_of(begun_ + 1);
  plan.loss_limit = guards_.loss_limit(plan.step);
  RETURN_IF_ERROR(engine_->begin(plan, [&] {
    if (hooks.checkpoints) hooks.checkpoints->wait_until_copied();
  }));
  ++begun_;
  return begun_ < steps_ ? engine_->prepare(plan_of(begun_ + 1)) : Status::ok();
}

Status Trainer::end_step(const TrainHooks& hooks) {
  ASSIGN_OR_RETURN(const StepNumbers numbers, engine_->end());
  const StepPlan plan = plan_of(step_ + 1);
  const StepResult result{plan.step, steps_, plan.rows, numbers.loss, numbers.gradient_norm, plan.learning_rate};
  std::string trouble;
  auto action =
      guards_.judge({result.step, steps_, result.loss, result.gradient_norm}, hooks.checkpoints != nullptr, &trouble);
  if (!action.is_ok()) {
    return invalid_argument(action.status().message() + ": lower optimizer.learning_rate (now " +
                            std::to_string(options_.learning_rate) + ") or set optimizer.clip_norm");
  }
  if (numbers.is_applied != (*action == Guards::Action::kGoOn)) {
    return internal("step " + std::to_string(result.step) + ": the update and the guards disagree on its numbers");
  }
  switch (*action) {
    case Guards::Action::kGoOn:
      ++step_;
      return hooks.on_step(result);
    case Guards::Action::kRollBack:
      if (comm_->rank() == 0) log_warning("train", trouble + ": going back to the newest checkpoint");
      // What has begun since then is of weights that lack this step.
      for (uint64_t step = result.step; step < begun_; ++step) RETURN_IF_ERROR(engine_->end().status());
      return resume(hooks, true);
    case Guards::Action::kSkip:
      if (comm_->rank() == 0) log_warning("train", trouble + " again: its batch is left out");
      ++step_;
      if (hooks.on_skip) hooks.on_skip(step_);
      return Status::ok();
  }
  return Status::ok();
}

}  // namespace freshet::worker
