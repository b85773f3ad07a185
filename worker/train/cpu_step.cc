#include "worker/train/cpu_step.h"

#include <algorithm>
#include <cmath>

#include "kernels/adamw.h"
#include "kernels/reduce.h"
#include "worker/train/embedding_tables.h"
#include "worker/train/flat_update.h"
#include "worker/train/permutation.h"

namespace freshet::worker {
namespace {

size_t table_elements(Objective* objective) { return objective->tables() ? objective->tables()->elements() : 0; }

// The objective's tables start from the first of them.
std::vector<float> without_tables(Objective* objective, std::vector<float> parameters) {
  CHECK(parameters.size() == objective->parameters() + table_elements(objective));
  if (EmbeddingTables* tables = objective->tables()) {
    tables->start(parameters.data());
    parameters.erase(parameters.begin(), parameters.end() - static_cast<ptrdiff_t>(objective->parameters()));
  }
  return parameters;
}

}  // namespace

CpuStep::CpuStep(Objective* objective, const TrainOptions& options, Communicator* comm, ThreadPool* pool,
                 std::vector<float> parameters)
    : objective_(objective),
      options_(options),
      comm_(comm),
      pool_(pool),
      parameters_(without_tables(objective, std::move(parameters))),
      buffers_(parameters_.size()),
      reducer_(comm, parameters_.size(), options.micro_batches),
      decayed_(decayed_ranges(objective->tensors())),
      m_(reducer_.segment().size()),
      v_(reducer_.segment().size()),
      micro_batches_(share_of(options.micro_batches, comm->size(), comm->rank())),
      losses_(options.micro_batches),
      block_sums_((parameters_.size() + kernels::kBlock - 1) / kernels::kBlock) {
  for (unsigned thread = 0; thread < pool->threads(); ++thread) alone_.push_back(std::make_unique<ThreadPool>(1));
  round_parameters({0, parameters_.size()});
}

size_t CpuStep::parameters() const { return table_elements(objective_) + parameters_.size(); }

std::vector<TableMemory> CpuStep::tables() const {
  if (objective_->tables() == nullptr) return {};
  return objective_->tables()->memory();
}

Result<TrainingSnapshot> CpuStep::snapshot() {
  const Range segment = reducer_.segment();
  return TrainingSnapshot{segment, parameters_.data() + segment.begin, m_.data(), v_.data(), tables(), {}, {}};
}

Status CpuStep::overwrite(const std::function<Result<bool>(const TrainingMemory&)>& fill) {
  RETURN_IF_ERROR(fill({parameters_, reducer_.segment(), m_, v_, tables()}).status());
  round_parameters({0, parameters_.size()});
  return Status::ok();
}

Status CpuStep::start_over(std::span<const float> parameters) {
  CHECK(parameters.size() == this->parameters());
  if (objective_->tables()) objective_->tables()->start(parameters.data());
  std::copy(parameters.end() - static_cast<ptrdiff_t>(parameters_.size()), parameters.end(), parameters_.begin());
  std::fill(m_.begin(), m_.end(), 0.0F);
  std::fill(v_.begin(), v_.end(), 0.0F);
  round_parameters({0, parameters_.size()});
  return Status::ok();
}

Status CpuStep::begin(const StepPlan& plan, const std::function<void()>& before_update) {
  const size_t leaves = options_.micro_batches_of(plan.rows);
  SubtreeSums sums(leaves, micro_batches_.begin, micro_batches_.end, &buffers_);
  RETURN_IF_ERROR(sum_micro_batches(plan, &sums));
  ASSIGN_OR_RETURN(const float* gradient, reducer_.reduce(leaves, sums.sums()));
  RETURN_IF_ERROR(share_numbers(gradient, plan.rows));
  numbers_.is_applied = std::isfinite(numbers_.loss) && std::isfinite(numbers_.gradient_norm) &&
                        !(plan.loss_limit > 0 && numbers_.loss > plan.loss_limit);
  if (!numbers_.is_applied) return Status::ok();
  before_update();
  update(gradient, plan);
  RETURN_IF_ERROR(share_parameters());
  return objective_->update_tables(leaves, static_cast<float>(plan.learning_rate_factor), pool_);
}

Status CpuStep::sum_micro_batches(const StepPlan& plan, SubtreeSums* sums) {
  const size_t batch_rows = plan.rows;
  Permutation order(objective_->examples(), options_.seed, plan.pass);
  float scale = 1.0F / static_cast<float>(batch_rows);
  std::fill(losses_.begin(), losses_.end(), 0.0);
  size_t micro = options_.micro_batch_rows;
  size_t end = std::min(micro_batches_.end, options_.micro_batches_of(batch_rows));
  size_t count = end > micro_batches_.begin ? end - micro_batches_.begin : 0;
  const size_t begin = std::min(micro_batches_.begin * micro, batch_rows);
  examples_.resize(std::min(micro_batches_.end * micro, batch_rows) - begin);
  RETURN_IF_ERROR(pool_->run(count, [&](size_t job, unsigned) {
    const size_t last = std::min((job + 1) * micro, examples_.size());
    for (size_t i = job * micro; i < last; ++i) examples_[i] = static_cast<uint32_t>(order.at(plan.cursor + begin + i));
    return Status::ok();
  }));
  RETURN_IF_ERROR(objective_->begin_step(examples_, begin, pool_));
  auto work_on = [&](size_t leaf, ThreadPool* pool, unsigned thread) {
    size_t first = leaf * micro, last = std::min(first + micro, batch_rows);
    const auto examples = std::span<const uint32_t>(examples_).subspan(first - begin, last - first);
    float* gradient = buffers_.take();
    auto loss =
        objective_->forward_backward({examples, plan.step, first, pool}, scale, parameters_.data(), gradient, thread);
    if (!loss.is_ok()) {
      buffers_.give(gradient);
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
Status CpuStep::share_numbers(const float* gradient, size_t rows) {
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
  double loss_sum = 0;
  for (double loss : losses_) loss_sum += loss;
  numbers_.loss = loss_sum / static_cast<double>(rows);
  numbers_.gradient_norm = norm_of(block_sums_);
  return Status::ok();
}

void CpuStep::update(const float* gradient, const StepPlan& plan) {
  kernels::AdamWStep step = adamw_step(options_, plan);
  step.gradient_scale = clipping_factor(numbers_.gradient_norm, options_.clip_norm);
  const Range mine = reducer_.segment();
  const auto rounded = objective_->rounded();
  update_weights(step,
                 {mine, gradient, parameters_.data() + mine.begin, m_.data(), v_.data(),
                  rounded.empty() ? nullptr : rounded.data() + mine.begin},
                 decayed_, pool_);
}

// After an update, in which each rank moved and rounded its own.
Status CpuStep::share_parameters() {
  RETURN_IF_ERROR(reducer_.all_gather(parameters_.data()));
  const Range mine = reducer_.segment();
  round_parameters({0, mine.begin});
  round_parameters({mine.end, parameters_.size()});
  return Status::ok();
}

void CpuStep::round_parameters(Range range) {
  const auto rounded = objective_->rounded();
  if (rounded.empty()) return;
  round_weights(range.size(), parameters_.data() + range.begin, rounded.data() + range.begin, pool_);
}

Result<std::vector<float>> CpuStep::take_parameters() {
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

Result<OptimizerState> CpuStep::gather_optimizer_state() {
  OptimizerState state;
  RETURN_IF_ERROR(reducer_.gather(m_, &state.m));
  RETURN_IF_ERROR(reducer_.gather(v_, &state.v));
  if (EmbeddingTables* tables = objective_->tables()) {
    if (comm_->rank() == 0) state.row_sums.resize(tables->rows());
    RETURN_IF_ERROR(tables->gather_sums(comm_->rank() == 0 ? state.row_sums.data() : nullptr));
  }
  return state;
}

}  // namespace freshet::worker
