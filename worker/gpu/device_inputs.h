// The way of a step's inputs to a device: a thread of the host fills pinned memory with the micro-batches of the next
// step while the device works on this one, and a stream of its own copies them, so that the step waits for neither. Two
// steps may be under way while the inputs of a third are made. One object per rank, used on the thread that trains.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/adamw.h"
#include "kernels/cuda/device.h"
#include "worker/checkpoint/background.h"
#include "worker/gpu/device_objective.h"
#include "worker/train/options.h"
#include "worker/train/step_engine.h"

namespace freshet::worker {

class DeviceInputs {
 public:
  // By the number of micro-batches that a global batch may have, those of this rank.
  using LeavesOf = std::map<size_t, std::vector<size_t>>;

  // The objective outlives it.
  static Result<std::unique_ptr<DeviceInputs>> create(const DeviceObjective* objective, const TrainOptions& options,
                                                      LeavesOf leaves);

  // Begins to fill the inputs of a step while the device is busy. At most two steps that were queued are not over.
  Status prepare(const StepPlan& plan);
  // Queues, behind what is on `stream`, that the inputs of the step are in the device's memory. Fills them first
  // unless that was prepared. At most one step that was queued is not over.
  Status queue(const StepPlan& plan, const cuda::StepInput& step, cuda::Stream* stream);

  // Where they are then, in the device's memory.
  const cuda::StepInput* step() const { return device_.data<cuda::StepInput>(); }
  // The first, second ... of this rank's.
  const std::byte* micro_batch(size_t index) const { return device_.data() + offset_of(index); }
  // Of all ranks'.
  const std::byte* lookups(size_t micro_batch) const {
    return lookup_stride_ == 0 ? nullptr : device_.data() + lookups_at(micro_batch);
  }

 private:
  // Of every third step.
  struct Slot {
    cuda::PinnedMemory host;
    cuda::DeviceMemory arrived;
    cuda::Event copied;  // from one to the other
  };
  DeviceInputs(const DeviceObjective* objective, const TrainOptions& options, LeavesOf leaves, cuda::Stream copies);
  size_t offset_of(size_t index) const;
  size_t lookups_at(size_t micro_batch) const { return offset_of(micro_batches_) + micro_batch * lookup_stride_; }
  // Of what is copied.
  size_t bytes_of(const StepPlan& plan) const;
  const std::vector<size_t>& leaves_of(const StepPlan& plan) const;
  Status fill(const StepPlan& plan, std::byte* host) const;

  const DeviceObjective& objective_;
  const TrainOptions options_;
  const LeavesOf leaves_;
  const size_t micro_batches_;           // the most of this rank
  const size_t stride_, lookup_stride_;  // bytes from one micro-batch to the next
  cuda::Stream copies_;
  cuda::DeviceMemory device_;  // what a recorded graph reads
  std::vector<Slot> slots_;
  size_t queued_ = 0;      // steps
  uint64_t prepared_ = 0;  // the step that the next slot is filled for; 0: none
  Background filler_;      // last: its job uses all of the above
};

}  // namespace freshet::worker
