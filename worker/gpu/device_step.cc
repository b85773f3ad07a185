#include "worker/gpu/device_step.h"

#include <cmath>

#include "base/check.h"
#include "kernels/cuda/reduce.h"
#include "kernels/reduce.h"
#include "worker/train/flat_update.h"

namespace freshet::worker {
namespace {

// The largest sum whose mean over `rows` is not above `limit`, so that the device, which compares sums, decides as the
// guards, who compare means.
double sum_limit(double limit, size_t rows) {
  if (limit <= 0) return 0;
  const auto count = static_cast<double>(rows);
  double sum = limit * count;
  while (sum / count > limit) sum = std::nextafter(sum, 0);
  while (std::nextafter(sum, INFINITY) / count <= limit) sum = std::nextafter(sum, INFINITY);
  return sum;
}

}  // namespace

Result<std::unique_ptr<DeviceStep>> DeviceStep::create(DeviceObjective* objective, const TrainOptions& options,
                                                       const DeviceGang& gang, std::span<const float> parameters,
                                                       bool records, ZeroStage stage) {
  std::unique_ptr<DeviceStep> step(new DeviceStep(objective, options, gang, records, stage));
  RETURN_IF_ERROR(step->allocate());
  if (parameters.size() == step->parameters()) {
    RETURN_IF_ERROR(step->start_over(parameters));
  } else {
    RETURN_IF_ERROR(step->start_flat(parameters));
  }
  return step;
}

DeviceStep::DeviceStep(DeviceObjective* objective, const TrainOptions& options, const DeviceGang& gang, bool records,
                       ZeroStage stage)
    : objective_(*objective),
      options_(options),
      gang_(gang),
      records_(records && gang.devices->is_asynchronous()),
      stage_(stage),
      gatherer_(gang.host, objective->parameters(), options.micro_batches) {}

DeviceStep::~DeviceStep() {
  // What is under way uses memory that goes before the stream does.
  if (stream_) (void)stream_->synchronize();
}

size_t DeviceStep::parameters() const {
  const DeviceTables* tables = objective_.tables();
  return (tables ? tables->elements() : 0) + objective_.parameters();
}

Status DeviceStep::allocate() {
  const DeviceTables* tables = objective_.tables();
  CHECK(tables == nullptr || tables->ranks() == gang_.devices->size());
  if (tables != nullptr && tables->ranks() > 1 && stage_ != ZeroStage::kOne) {
    return invalid_argument("tables of embeddings are shared out over ranks whose micro-batches are neighbours only");
  }
  const size_t parameters = objective_.parameters();
  CHECK(gang_.host->size() == gang_.devices->size() && gang_.host->rank() == gang_.devices->rank());
  ASSIGN_OR_RETURN(stream_, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto reducer, DeviceReducer::create(gang_.devices, parameters, options_.micro_batches,
                                                       objective_.gradient_parts(), stage_));
  reducer_.emplace(std::move(reducer));
  ASSIGN_OR_RETURN(state_, DeviceState::create(parameters, reducer_->segment(), objective_.state()));
  RETURN_IF_ERROR(allocate_inputs());

  std::vector<uint64_t> borders;
  for (const Range& range : decayed_ranges(objective_.tensors())) {
    borders.push_back(range.begin);
    borders.push_back(range.end);
  }
  decayed_borders_ = borders.size();
  ASSIGN_OR_RETURN(decayed_, cuda::DeviceMemory::allocate(borders.size() * sizeof(uint64_t)));
  RETURN_IF_ERROR(cuda::copy_to_device(decayed_.data(), borders.data(), decayed_.bytes(), stream_->get()));
  if (gang_.devices->size() > 1) {
    const auto ranks = static_cast<size_t>(gang_.devices->size());
    ASSIGN_OR_RETURN(notes_, cuda::DeviceMemory::allocate(ranks * objective_.notes().size()));
  }
  ASSIGN_OR_RETURN(losses_, cuda::DeviceMemory::allocate(options_.micro_batches * sizeof(double)));
  const size_t blocks = (parameters + kernels::kBlock - 1) / kernels::kBlock;
  ASSIGN_OR_RETURN(block_sums_, cuda::DeviceMemory::allocate(blocks * sizeof(double)));
  ASSIGN_OR_RETURN(output_, cuda::DeviceMemory::allocate(sizeof(cuda::StepOutput)));
  ASSIGN_OR_RETURN(outputs_, cuda::PinnedMemory::allocate(pending_.size() * sizeof(cuda::StepOutput)));
  for (size_t i = 0; i < pending_.size(); ++i) {
    ASSIGN_OR_RETURN(auto event, cuda::Event::create());
    finished_.push_back(std::move(event));
  }
  return stream_->synchronize();
}

Status DeviceStep::allocate_inputs() {
  std::map<size_t, std::vector<size_t>> leaves;
  for (size_t rows : {objective_.examples() % options_.batch_rows(), options_.batch_rows()}) {
    if (rows == 0) continue;
    reducer_->begin_step(options_.micro_batches_of(rows), &*stream_);
    leaves[options_.micro_batches_of(rows)] = reducer_->leaves();
  }
  ASSIGN_OR_RETURN(inputs_, DeviceInputs::create(&objective_, options_, std::move(leaves)));
  return Status::ok();
}

cuda::StepInput DeviceStep::input_of(const StepPlan& plan) const {
  cuda::StepInput input;
  input.adamw = adamw_step(options_, plan);
  input.clip_norm = options_.clip_norm;
  input.step = plan.step;
  input.seed = options_.seed;
  input.loss_limit = sum_limit(plan.loss_limit, plan.rows);
  return input;
}

Status DeviceStep::begin(const StepPlan& plan, const std::function<void()>&) {
  CHECK(begun_ - ended_ < pending_.size());
  const size_t leaves = options_.micro_batches_of(plan.rows), slot = begun_ % pending_.size();
  RETURN_IF_ERROR(inputs_->queue(plan, input_of(plan), &*stream_));
  Phases& phases = phases_[leaves];
  RETURN_IF_ERROR(run(&phases.sum, [&] { return queue_sum(leaves, &phases); }));
  RETURN_IF_ERROR(state_->wait_for_snapshot(&*stream_));
  if (DeviceTables* tables = objective_.tables()) RETURN_IF_ERROR(tables->wait_for_snapshot(&*stream_));
  RETURN_IF_ERROR(run(&phases.update, [&] { return queue_update(phases); }));
  RETURN_IF_ERROR(
      cuda::copy_to_host(outputs_.data<cuda::StepOutput>() + slot, output_.data(), output_.bytes(), stream_->get()));
  RETURN_IF_ERROR(finished_[slot].record(stream_->get()));
  pending_[slot] = {plan.step, plan.rows};
  ++begun_;
  return Status::ok();
}

Status DeviceStep::run(Phase* phase, const std::function<Status()>& queue) {
  if (!phase->graph) {
    if (!records_ || !phase->was_queued) {
      phase->was_queued = true;
      return queue();
    }
    ASSIGN_OR_RETURN(phase->graph, cuda::Graph::capture(*stream_, queue));
  }
  return phase->graph->launch(stream_->get());
}

// Gradients, their total and what is to be known of it before the update.
Status DeviceStep::queue_sum(size_t leaves, Phases* phases) {
  gang_.devices->begin_step();
  reducer_->begin_step(leaves, &*stream_);
  std::vector<const std::byte*> lookups;
  for (size_t leaf = 0; leaf < leaves; ++leaf) lookups.push_back(inputs_->lookups(leaf));
  RETURN_IF_ERROR(objective_.begin_step(state_->weights(), lookups, &*stream_));
  auto* losses = losses_.data<double>();
  const std::vector<size_t> mine = reducer_->leaves();
  for (size_t i = 0; i < mine.size(); ++i) {
    ASSIGN_OR_RETURN(float* gradient, reducer_->begin_leaf());
    RETURN_IF_ERROR(objective_.forward_backward(inputs_->micro_batch(i), state_->weights(), gradient, losses + mine[i],
                                                &*stream_, [this](size_t part) { return reducer_->ready(part); }));
  }
  ASSIGN_OR_RETURN(phases->gradient, reducer_->finish());
  // Here, and not before: a rank without micro-batches exchanges gradients only in finish().
  RETURN_IF_ERROR(objective_.end_passes(leaves, &*stream_));

  const Range segment = reducer_->segment();
  auto* sums = block_sums_.data<double>();
  RETURN_IF_ERROR(cuda::block_sums_of_squares(segment.size(), phases->gradient, sums + segment.begin / kernels::kBlock,
                                              stream_->get()));
  if (gang_.devices->size() > 1) {
    RETURN_IF_ERROR(reducer_->all_gather_blocks("squares of the gradient", sums, &*stream_));
    RETURN_IF_ERROR(gather_losses(leaves));
  }
  return cuda::finish_step_numbers(inputs_->step(), leaves, losses, block_sums_.bytes() / sizeof(double), sums,
                                   output_.data<cuda::StepOutput>(), stream_->get());
}

// Each rank's losses reach all others: in one exchange where its micro-batches are neighbours, else in as many as a
// rank has micro-batches.
Status DeviceStep::gather_losses(size_t leaves) {
  const auto ranks = static_cast<size_t>(gang_.devices->size());
  const bool are_neighbours = stage_ == ZeroStage::kOne;
  const size_t rounds = are_neighbours ? 1 : (leaves + ranks - 1) / ranks;
  for (size_t round = 0; round < rounds; ++round) {
    std::vector<MutableBytes> all;
    for (size_t rank = 0; rank < ranks; ++rank) {
      Range theirs{round * ranks + rank, round * ranks + rank + 1};
      if (are_neighbours) theirs = share_of(options_.micro_batches, gang_.devices->size(), static_cast<int>(rank));
      theirs = {std::min(theirs.begin, leaves), std::min(theirs.end, leaves)};
      all.push_back(bytes_of(std::span<double>(losses_.data<double>() + theirs.begin, theirs.size())));
    }
    RETURN_IF_ERROR(
        gang_.devices->all_gather("losses", all[static_cast<size_t>(gang_.devices->rank())], all, &*stream_));
  }
  return Status::ok();
}

Status DeviceStep::queue_update(const Phases& phases) {
  const Range segment = reducer_->segment();
  cuda::AdamWSegment own;
  own.first = segment.begin;
  own.count = segment.size();
  own.gradient = phases.gradient;
  own.w = state_->w();
  own.m = state_->m();
  own.v = state_->v();
  own.rounded = state_->weights() + segment.begin;
  own.decayed = decayed_.data<uint64_t>();
  own.decayed_borders = decayed_borders_;
  RETURN_IF_ERROR(cuda::adamw(own, inputs_->step(), output_.data<cuda::StepOutput>(), stream_->get()));
  RETURN_IF_ERROR(end_objective_step());
  if (gang_.devices->size() == 1) return Status::ok();
  return reducer_->all_gather("weights", state_->weights(), sizeof(kernels::Bfloat16), &*stream_);
}

Status DeviceStep::end_objective_step() {
  const std::span<std::byte> notes = objective_.notes();
  const auto ranks = static_cast<size_t>(gang_.devices->size());
  std::span<const std::byte> all = notes;
  if (ranks > 1 && !notes.empty()) {
    std::vector<MutableBytes> of_ranks;
    for (size_t rank = 0; rank < ranks; ++rank) {
      of_ranks.emplace_back(notes_.data() + rank * notes.size(), notes.size());
    }
    RETURN_IF_ERROR(gang_.devices->all_gather("notes of the micro-batches", notes, of_ranks, &*stream_));
    all = {notes_.data(), notes_.bytes()};
  }
  return objective_.end_step(inputs_->step(), output_.data<cuda::StepOutput>(), all, &*stream_);
}

Result<StepNumbers> DeviceStep::end() {
  CHECK(ended_ < begun_);
  const size_t slot = ended_ % pending_.size();
  const Pending& step = pending_[slot];
  RETURN_IF_ERROR(gang_.devices->wait(finished_[slot], step.step));
  ++ended_;
  const auto& output = outputs_.data<cuda::StepOutput>()[slot];
  return StepNumbers{output.loss / static_cast<double>(step.rows), output.norm, output.is_applied != 0};
}

Result<TrainingSnapshot> DeviceStep::snapshot() {
  ASSIGN_OR_RETURN(TrainingSnapshot snapshot, state_->snapshot(*stream_));
  if (DeviceTables* tables = objective_.tables()) RETURN_IF_ERROR(tables->snapshot(*stream_, &snapshot));
  return snapshot;
}

Status DeviceStep::overwrite(const std::function<Result<bool>(const TrainingMemory&)>& fill) {
  CHECK(begun_ == ended_);
  std::vector<float> parameters(objective_.parameters());
  std::vector<float> m(reducer_->segment().size()), v(reducer_->segment().size());
  std::vector<std::byte> objective;
  TrainingMemory memory{parameters, reducer_->segment(), m, v, {}, &objective};
  DeviceTables* tables = objective_.tables();
  std::unique_ptr<float[]> host;
  if (tables != nullptr) {
    try {
      // Not set to zero first: what nothing is read into costs nothing.
      host = std::make_unique_for_overwrite<float[]>(tables->bytes() / sizeof(float));
    } catch (const std::bad_alloc&) {
      return resource_exhausted("there is no memory for the tables of a checkpoint");
    }
    memory.tables = tables->view(host.get());
  }
  ASSIGN_OR_RETURN(const bool is_filled, fill(memory));
  if (!is_filled) return Status::ok();
  if (tables != nullptr) RETURN_IF_ERROR(tables->load(host.get(), &*stream_));
  return state_->set(parameters, m, v, objective, &*stream_);
}

Status DeviceStep::start_over(std::span<const float> parameters) {
  CHECK(begun_ == ended_ && parameters.size() == this->parameters());
  if (DeviceTables* tables = objective_.tables()) RETURN_IF_ERROR(tables->start(parameters.data(), &*stream_));
  return start_flat(parameters.last(objective_.parameters()));
}

// All but tables.
Status DeviceStep::start_flat(std::span<const float> parameters) {
  CHECK(parameters.size() == objective_.parameters());
  return state_->set(parameters, {}, {}, {}, &*stream_);
}

Result<OptimizerState> DeviceStep::gather_optimizer_state() {
  OptimizerState state;
  for (auto [from, all] : {std::pair{state_->m(), &state.m}, std::pair{state_->v(), &state.v}}) {
    ASSIGN_OR_RETURN(const auto own, state_->read(from, &*stream_));
    RETURN_IF_ERROR(gatherer_.gather(own, all));
  }
  if (const DeviceTables* tables = objective_.tables()) {
    if (gang_.host->rank() == 0) state.row_sums.resize(tables->rows());
    RETURN_IF_ERROR(tables->gather_sums(gang_.host, &*stream_, state.row_sums.data()));
  }
  return state;
}

Result<std::vector<float>> DeviceStep::take_parameters() {
  const DeviceTables* tables = objective_.tables();
  const size_t first = tables != nullptr && gang_.host->rank() == 0 ? tables->elements() : 0;
  std::vector<float> parameters(first + objective_.parameters());
  float* flat = parameters.data() + first;
  ASSIGN_OR_RETURN(const auto own, state_->read(state_->w(), &*stream_));
  std::copy(own.begin(), own.end(), flat + reducer_->segment().begin);
  RETURN_IF_ERROR(gatherer_.all_gather(flat));
  if (tables != nullptr) RETURN_IF_ERROR(tables->gather_values(gang_.host, &*stream_, parameters.data()));
  return parameters;
}

size_t DeviceStep::graph_nodes() const {
  const auto full = phases_.find(options_.micro_batches);
  if (full == phases_.end() || !full->second.sum.graph || !full->second.update.graph) return 0;
  return full->second.sum.graph->nodes() + full->second.update.graph->nodes();
}

}  // namespace freshet::worker
