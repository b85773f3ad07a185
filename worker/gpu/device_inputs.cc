#include "worker/gpu/device_inputs.h"

#include <algorithm>

#include "base/check.h"
#include "worker/train/permutation.h"

namespace freshet::worker {
namespace {

constexpr size_t kBorder = 256;  // of micro-batches, in bytes
static_assert(sizeof(cuda::StepInput) <= kBorder);

constexpr size_t kSlots = 3;

size_t padded(size_t bytes) { return (bytes + kBorder - 1) / kBorder * kBorder; }

size_t most_of(const DeviceInputs::LeavesOf& leaves) {
  size_t most = 0;
  for (const auto& [count, mine] : leaves) most = std::max(most, mine.size());
  return most;
}

}  // namespace

DeviceInputs::DeviceInputs(const DeviceObjective* objective, const TrainOptions& options, LeavesOf leaves,
                           cuda::Stream copies)
    : objective_(*objective),
      options_(options),
      leaves_(std::move(leaves)),
      micro_batches_(most_of(leaves_)),
      stride_(padded(objective->input_bytes())),
      lookup_stride_(padded(objective->lookup_bytes())),
      copies_(std::move(copies)) {}

Result<std::unique_ptr<DeviceInputs>> DeviceInputs::create(const DeviceObjective* objective,
                                                           const TrainOptions& options, LeavesOf leaves) {
  ASSIGN_OR_RETURN(auto copies, cuda::Stream::create());
  std::unique_ptr<DeviceInputs> inputs(new DeviceInputs(objective, options, std::move(leaves), std::move(copies)));
  const size_t bytes = inputs->lookups_at(options.micro_batches);
  ASSIGN_OR_RETURN(inputs->device_, cuda::DeviceMemory::allocate(bytes));
  for (size_t i = 0; i < kSlots; ++i) {
    ASSIGN_OR_RETURN(auto host, cuda::PinnedMemory::allocate(bytes));
    ASSIGN_OR_RETURN(auto arrived, cuda::DeviceMemory::allocate(bytes));
    ASSIGN_OR_RETURN(auto copied, cuda::Event::create());
    inputs->slots_.push_back({std::move(host), std::move(arrived), std::move(copied)});
  }
  return inputs;
}

size_t DeviceInputs::offset_of(size_t index) const { return kBorder + index * stride_; }

const std::vector<size_t>& DeviceInputs::leaves_of(const StepPlan& plan) const {
  const auto found = leaves_.find(options_.micro_batches_of(plan.rows));
  CHECK_MSG(found != leaves_.end(), "a batch that the examples cannot make");
  return found->second;
}

size_t DeviceInputs::bytes_of(const StepPlan& plan) const {
  return lookup_stride_ == 0 ? offset_of(leaves_of(plan).size()) : lookups_at(options_.micro_batches_of(plan.rows));
}

Status DeviceInputs::fill(const StepPlan& plan, std::byte* host) const {
  const Permutation order(objective_.examples(), options_.seed, plan.pass);
  const float scale = 1.0F / static_cast<float>(plan.rows);
  std::vector<uint32_t> examples;
  auto micro_batch = [&](size_t leaf) {
    const size_t first = leaf * options_.micro_batch_rows;
    examples.resize(std::min(options_.micro_batch_rows, plan.rows - first));
    for (size_t i = 0; i < examples.size(); ++i) {
      examples[i] = static_cast<uint32_t>(order.at(plan.cursor + first + i));
    }
    return MicroBatch{examples, plan.step, first, nullptr};
  };
  const auto& leaves = leaves_of(plan);
  for (size_t index = 0; index < leaves.size(); ++index) {
    RETURN_IF_ERROR(objective_.fill_input(micro_batch(leaves[index]), scale, host + offset_of(index)));
  }
  for (size_t leaf = 0; lookup_stride_ > 0 && leaf < options_.micro_batches_of(plan.rows); ++leaf) {
    RETURN_IF_ERROR(objective_.fill_lookups(micro_batch(leaf), host + lookups_at(leaf)));
  }
  return Status::ok();
}

Status DeviceInputs::prepare(const StepPlan& plan) {
  RETURN_IF_ERROR(filler_.wait());
  prepared_ = plan.step;
  filler_.start(
      [this, plan, host = slots_[queued_ % kSlots].host.data()](const std::atomic<bool>&) { return fill(plan, host); });
  return Status::ok();
}

Status DeviceInputs::queue(const StepPlan& plan, const cuda::StepInput& step, cuda::Stream* stream) {
  // Nothing uses the slot: the step that it was used for is over.
  Slot& slot = slots_[queued_ % kSlots];
  RETURN_IF_ERROR(filler_.wait());
  if (prepared_ != plan.step) RETURN_IF_ERROR(fill(plan, slot.host.data()));
  prepared_ = 0;
  ++queued_;
  *slot.host.data<cuda::StepInput>() = step;
  const size_t bytes = bytes_of(plan);
  RETURN_IF_ERROR(cuda::copy_to_device(slot.arrived.data(), slot.host.data(), bytes, copies_.get()));
  RETURN_IF_ERROR(slot.copied.record(copies_.get()));
  // Two copies: the first runs beside the step before, whose inputs lie where this one's graph looks for its own.
  RETURN_IF_ERROR(stream->wait(slot.copied));
  return cuda::copy_on_device(device_.data(), slot.arrived.data(), bytes, stream->get());
}

}  // namespace freshet::worker
