#include "worker/train/trainer.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>

#include "base/log.h"
#include "kernels/adamw.h"
#include "kernels/reduce.h"
#include "worker/train/embedding_tables.h"
#include "worker/train/flat_update.h"
#include "worker/train/permutation.h"

namespace freshet::worker {
namespace {

size_t table_elements(Objective* objective) { return objective->tables() ? objective->tables()->elements() : 0; }

}  // namespace

Result<Trainer> Trainer::create(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
                                std::vector<float> parameters) {
  CHECK(parameters.size() == objective->parameters() + table_elements(objective));
  if (static_cast<size_t>(comm->size()) > options.micro_batches) {
    return invalid_argument("the gang has " + std::to_string(comm->size()) + " ranks but the batch has " +
                            std::to_string(options.micro_batches) +
                            " micro-batches: use fewer ranks or raise batch.micro_batches");
  }
  if (EmbeddingTables* tables = objective->tables()) {
    tables->start(parameters.data());
    parameters.erase(parameters.begin(), parameters.end() - static_cast<ptrdiff_t>(objective->parameters()));
  }
  return Trainer(objective, options, comm, pool, std::move(parameters));
}

Trainer::Trainer(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
                 std::vector<float> parameters)
    : objective_(objective),
      options_(options),
      comm_(comm),
      pool_(pool),
      parameters_(std::move(parameters)),
      buffers_(std::make_unique<BufferPool>(parameters_.size())),
      reducer_(comm, parameters_.size(), options.micro_batches),
      decayed_(decayed_ranges(objective->tensors())),
      m_(reducer_.segment().size()),
      v_(reducer_.segment().size()),
      guards_(options.guards),
      micro_batches_(share_of(options.micro_batches, comm->size(), comm->rank())),
      losses_(options.micro_batches),
      block_sums_((parameters_.size() + kernels::kBlock - 1) / kernels::kBlock) {
  for (unsigned thread = 0; thread < pool->threads(); ++thread) alone_.push_back(std::make_unique<ThreadPool>(1));
  round_parameters({0, parameters_.size()});
}

size_t Trainer::leaves_of(size_t rows) const {
  return (rows + options_.micro_batch_rows - 1) / options_.micro_batch_rows;
}

uint64_t Trainer::steps_of(const TrainOptions& options, size_t examples) {
  return options.epochs * ((examples + options.batch_rows() - 1) / options.batch_rows());
}

Status Trainer::run(const TrainHooks& hooks) {
  batches_a_pass_ = (objective_->examples() + options_.batch_rows() - 1) / options_.batch_rows();
  steps_ = steps_of(options_, objective_->examples());
  if (hooks.checkpoints) RETURN_IF_ERROR(resume(hooks, false));
  while (step_ < steps_) {
    const uint64_t before = step_;
    if (guards_.is_skipped(step_ + 1)) {
      ++step_;
    } else {
      RETURN_IF_ERROR(run_step(hooks));
    }
    if (hooks.checkpoints && step_ == before + 1) {
      RETURN_IF_ERROR(hooks.checkpoints->after_step(progress(), memory(), step_ == steps_));
    }
  }
  return hooks.checkpoints ? hooks.checkpoints->finish() : Status::ok();
}

TrainingMemory Trainer::memory() {
  TrainingMemory memory{parameters_, reducer_.segment(), m_, v_, {}};
  if (objective_->tables()) memory.tables = objective_->tables()->memory();
  return memory;
}

Progress Trainer::progress() const {
  return {step_, step_ / batches_a_pass_, step_ % batches_a_pass_ * options_.batch_rows(), guards_.skipped(),
          guards_.recent_losses()};
}

Status Trainer::resume(const TrainHooks& hooks, bool may_start_over) {
  ASSIGN_OR_RETURN(auto found, hooks.checkpoints->restore(memory()));
  if (found) {
    step_ = found->step;
    guards_.restore(found->skipped, std::move(found->recent_losses));
    Progress expected = progress();
    if (step_ >= steps_ || expected.pass != found->pass || expected.cursor != found->cursor) {
      return internal("the checkpoint of step " + std::to_string(step_) + " is at another place in the data");
    }
    if (hooks.on_resume) hooks.on_resume(step_);
  } else if (may_start_over) {
    step_ = 0;
    std::vector<float> initial(table_elements(objective_) + parameters_.size());
    RETURN_IF_ERROR(comm_->agree(hooks.initial(initial)));
    if (objective_->tables()) objective_->tables()->start(initial.data());
    std::copy(initial.end() - static_cast<ptrdiff_t>(parameters_.size()), initial.end(), parameters_.begin());
    std::fill(m_.begin(), m_.end(), 0.0F);
    std::fill(v_.begin(), v_.end(), 0.0F);
    guards_.restore({}, {});
  }
  round_parameters({0, parameters_.size()});
  return Status::ok();
}

Status Trainer::run_step(const TrainHooks& hooks) {
  uint64_t pass = step_ / batches_a_pass_, cursor = step_ % batches_a_pass_ * options_.batch_rows();
  StepResult result;
  result.step = step_ + 1;
  result.steps = steps_;
  result.learning_rate = options_.learning_rate * options_.schedule.factor(result.step, steps_);
  result.rows = std::min<size_t>(options_.batch_rows(), objective_->examples() - cursor);
  // The last batch of a pass fills its micro-batches from the front; those left empty are no leaves of its tree.
  const size_t leaves = leaves_of(result.rows);

  SubtreeSums sums(leaves, micro_batches_.begin, micro_batches_.end, buffers_.get());
  RETURN_IF_ERROR(sum_micro_batches(pass, cursor, result.rows, &sums));
  ASSIGN_OR_RETURN(const float* gradient, reducer_.reduce(leaves, sums.sums()));
  ASSIGN_OR_RETURN(BatchNumbers numbers, share_numbers(gradient));
  result.loss = numbers.loss_sum / static_cast<double>(result.rows);
  result.gradient_norm = numbers.norm;

  std::string trouble;
  auto action =
      guards_.judge({result.step, steps_, result.loss, result.gradient_norm}, hooks.checkpoints != nullptr, &trouble);
  if (!action.is_ok()) {
    return invalid_argument(action.status().message() + ": lower optimizer.learning_rate (now " +
                            std::to_string(options_.learning_rate) + ") or set optimizer.clip_norm");
  }
  return take(*action, trouble, gradient, result, hooks);
}

Status Trainer::take(Guards::Action action, const std::string& trouble, const float* gradient, const StepResult& result,
                     const TrainHooks& hooks) {
  switch (action) {
    case Guards::Action::kGoOn:
      if (hooks.checkpoints) hooks.checkpoints->wait_until_copied();
      update(gradient, result);
      RETURN_IF_ERROR(share_parameters());
      RETURN_IF_ERROR(objective_->update_tables(
          leaves_of(result.rows), static_cast<float>(options_.schedule.factor(result.step, steps_)), pool_));
      ++step_;
      return hooks.on_step(result);
    case Guards::Action::kRollBack:
      if (comm_->rank() == 0) log_warning("train", trouble + ": going back to the newest checkpoint");
      return resume(hooks, true);
    case Guards::Action::kSkip:
      if (comm_->rank() == 0) log_warning("train", trouble + " again: its batch is left out");
      ++step_;
      if (hooks.on_skip) hooks.on_skip(step_);
      return Status::ok();
  }
  return Status::ok();
}

Status Trainer::sum_micro_batches(uint64_t pass, uint64_t cursor, size_t batch_rows, SubtreeSums* sums) {
  Permutation order(objective_->examples(), options_.seed, pass);
  float scale = 1.0F / static_cast<float>(batch_rows);
  std::fill(losses_.begin(), losses_.end(), 0.0);
  size_t micro = options_.micro_batch_rows;
  size_t end = std::min(micro_batches_.end, leaves_of(batch_rows));
  size_t count = end > micro_batches_.begin ? end - micro_batches_.begin : 0;
  const size_t begin = std::min(micro_batches_.begin * micro, batch_rows);
  examples_.resize(std::min(micro_batches_.end * micro, batch_rows) - begin);
  RETURN_IF_ERROR(pool_->run(count, [&](size_t job, unsigned) {
    const size_t last = std::min((job + 1) * micro, examples_.size());
    for (size_t i = job * micro; i < last; ++i) examples_[i] = static_cast<uint32_t>(order.at(cursor + begin + i));
    return Status::ok();
  }));
  RETURN_IF_ERROR(objective_->begin_step(examples_, begin, pool_));
  auto work_on = [&](size_t leaf, ThreadPool* pool, unsigned thread) {
    size_t first = leaf * micro, last = std::min(first + micro, batch_rows);
    const auto examples = std::span<const uint32_t>(examples_).subspan(first - begin, last - first);
    float* gradient = buffers_->take();
    auto loss =
        objective_->forward_backward({examples, step_ + 1, first, pool}, scale, parameters_.data(), gradient, thread);
    if (!loss.is_ok()) {
      buffers_->give(gradient);
      return loss.status();
    }
    losses_[leaf] = *loss;
    sums->add_leaf(leaf, gradient);
    return Status::ok();
  };
  // Side by side, each on one thread, as long as there is one for every thread; the last ones by all threads together.
  size_t together = objective_->uses_pool() ? count % pool_->threads() : 0;
  RETURN_IF_ERROR(pool_->run(count - together, [&](size_t job, unsigned thread) {
    return work_on(micro_batches_.begin + job, alone_[thread].get(), thread);
  }));
  for (size_t job = count - together; job < count; ++job) {
    RETURN_IF_ERROR(work_on(micro_batches_.begin + job, pool_, 0));
  }
  return Status::ok();
}

// The micro-batches' losses and the blocks' sums of squares reach every rank, which adds them up in their order.
Result<Trainer::BatchNumbers> Trainer::share_numbers(const float* gradient) {
  auto blocks_of = [this](int rank) {
    Range segment = segment_of(parameters_.size(), comm_->size(), rank);
    return Range{segment.begin / kernels::kBlock, (segment.end + kernels::kBlock - 1) / kernels::kBlock};
  };
  Range mine = blocks_of(comm_->rank());
  block_sums_of_squares(reducer_.segment().size(), gradient, block_sums_.data() + mine.begin, pool_);

  std::vector<MutableBytes> losses, blocks;
  for (int rank = 0; rank < comm_->size(); ++rank) {
    Range share = share_of(losses_.size(), comm_->size(), rank);
    losses.push_back(bytes_of(std::span<double>(losses_.data() + share.begin, share.size())));
    Range theirs = blocks_of(rank);
    blocks.push_back(bytes_of(std::span<double>(block_sums_.data() + theirs.begin, theirs.size())));
  }
  auto me = static_cast<size_t>(comm_->rank());
  RETURN_IF_ERROR(comm_->all_gather(losses[me], losses));
  RETURN_IF_ERROR(comm_->all_gather(blocks[me], blocks));
  BatchNumbers numbers;
  for (double loss : losses_) numbers.loss_sum += loss;
  numbers.norm = norm_of(block_sums_);
  return numbers;
}

void Trainer::update(const float* gradient, const StepResult& result) {
  kernels::AdamWStep step;
  step.learning_rate = static_cast<float>(result.learning_rate);
  step.weight_decay = static_cast<float>(options_.weight_decay);
  step.beta1 = static_cast<float>(options_.beta1);
  step.beta2 = static_cast<float>(options_.beta2);
  step.epsilon = static_cast<float>(options_.epsilon);
  step.gradient_scale = clipping_factor(result.gradient_norm, options_.clip_norm);
  kernels::set_corrections(result.step, &step);
  const Range mine = reducer_.segment();
  const auto rounded = objective_->rounded();
  update_weights(step,
                 {mine, gradient, parameters_.data() + mine.begin, m_.data(), v_.data(),
                  rounded.empty() ? nullptr : rounded.data() + mine.begin},
                 decayed_, pool_);
}

// After an update, in which each rank moved and rounded its own.
Status Trainer::share_parameters() {
  RETURN_IF_ERROR(reducer_.all_gather(parameters_.data()));
  const Range mine = reducer_.segment();
  round_parameters({0, mine.begin});
  round_parameters({mine.end, parameters_.size()});
  return Status::ok();
}

void Trainer::round_parameters(Range range) {
  const auto rounded = objective_->rounded();
  if (rounded.empty()) return;
  round_weights(range.size(), parameters_.data() + range.begin, rounded.data() + range.begin, pool_);
}

Result<std::vector<float>> Trainer::take_parameters() {
  EmbeddingTables* tables = objective_->tables();
  if (tables == nullptr) return std::move(parameters_);
  std::vector<float> all;
  if (comm_->rank() == 0) {
    all.resize(tables->elements() + parameters_.size());
    std::copy(parameters_.begin(), parameters_.end(), all.begin() + static_cast<ptrdiff_t>(tables->elements()));
  }
  RETURN_IF_ERROR(tables->gather_values(comm_->rank() == 0 ? all.data() : nullptr));
  return all;
}

Result<Trainer::OptimizerState> Trainer::gather_optimizer_state() {
  OptimizerState state;
  if (comm_->rank() == 0) {
    state.m.resize(parameters_.size());
    state.v.resize(parameters_.size());
  }
  for (auto [own, all] : {std::pair{&m_, &state.m}, std::pair{&v_, &state.v}}) {
    std::vector<MutableBytes> parts;
    for (int rank = 0; rank < comm_->size() && comm_->rank() == 0; ++rank) {
      Range segment = segment_of(parameters_.size(), comm_->size(), rank);
      parts.push_back(bytes_of(std::span<float>(all->data() + segment.begin, segment.size())));
    }
    RETURN_IF_ERROR(comm_->gather(bytes_of(std::span<const float>(*own)), parts));
  }
  if (EmbeddingTables* tables = objective_->tables()) {
    if (comm_->rank() == 0) state.row_sums.resize(tables->rows());
    RETURN_IF_ERROR(tables->gather_sums(comm_->rank() == 0 ? state.row_sums.data() : nullptr));
  }
  return state;
}

}  // namespace freshet::worker
