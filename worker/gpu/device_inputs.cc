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

}  // namespace

DeviceInputs::DeviceInputs(const DeviceObjective* objective, const TrainOptions& options, Range mine,
                           cuda::Stream copies, cuda::DeviceMemory device)
    : objective_(*objective),
      options_(options),
      mine_(mine),
      stride_(padded(objective->input_bytes())),
      copies_(std::move(copies)),
      device_(std::move(device)) {}

Result<std::unique_ptr<DeviceInputs>> DeviceInputs::create(const DeviceObjective* objective,
                                                           const TrainOptions& options, Range mine) {
  const size_t bytes = kBorder + mine.size() * padded(objective->input_bytes());
  ASSIGN_OR_RETURN(auto copies, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto device, cuda::DeviceMemory::allocate(bytes));
  std::unique_ptr<DeviceInputs> inputs(
      new DeviceInputs(objective, options, mine, std::move(copies), std::move(device)));
  for (size_t i = 0; i < kSlots; ++i) {
    ASSIGN_OR_RETURN(auto host, cuda::PinnedMemory::allocate(bytes));
    ASSIGN_OR_RETURN(auto arrived, cuda::DeviceMemory::allocate(bytes));
    ASSIGN_OR_RETURN(auto copied, cuda::Event::create());
    inputs->slots_.push_back({std::move(host), std::move(arrived), std::move(copied)});
  }
  return inputs;
}

size_t DeviceInputs::offset_of(size_t leaf) const { return kBorder + (leaf - mine_.begin) * stride_; }

size_t DeviceInputs::leaves_end(const StepPlan& plan) const {
  const size_t leaves = (plan.rows + options_.micro_batch_rows - 1) / options_.micro_batch_rows;
  return std::clamp(leaves, mine_.begin, mine_.end);
}

Status DeviceInputs::fill(const StepPlan& plan, std::byte* host) const {
  const Permutation order(objective_.examples(), options_.seed, plan.pass);
  const float scale = 1.0F / static_cast<float>(plan.rows);
  std::vector<uint32_t> examples;
  for (size_t leaf = mine_.begin; leaf < leaves_end(plan); ++leaf) {
    const size_t first = leaf * options_.micro_batch_rows;
    examples.resize(std::min(options_.micro_batch_rows, plan.rows - first));
    for (size_t i = 0; i < examples.size(); ++i) {
      examples[i] = static_cast<uint32_t>(order.at(plan.cursor + first + i));
    }
    RETURN_IF_ERROR(objective_.fill_input({examples, plan.step, first, nullptr}, scale, host + offset_of(leaf)));
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
  const size_t bytes = offset_of(leaves_end(plan));
  RETURN_IF_ERROR(cuda::copy_to_device(slot.arrived.data(), slot.host.data(), bytes, copies_.get()));
  RETURN_IF_ERROR(slot.copied.record(copies_.get()));
  // Two copies: the first runs beside the step before, whose inputs lie where this one's graph looks for its own.
  RETURN_IF_ERROR(stream->wait(slot.copied));
  return cuda::copy_on_device(device_.data(), slot.arrived.data(), bytes, stream->get());
}

}  // namespace freshet::worker
