// What a training keeps on a device from step to step: the working copy of all parameters, and of the segment that a
// rank owns the parameters themselves with AdamW's moments; what the objective keeps lies in the objective's memory. A
// snapshot of the segment and of that is copied to the host's memory beside the work of the next step, of which only
// the update waits for it. One object per rank, used on the thread that trains.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/device.h"
#include "worker/checkpoint/training_state.h"
#include "worker/comm/reduce.h"
#include "worker/gpu/host_copy.h"

namespace freshet::worker {

class DeviceState {
 public:
  // `objective`: DeviceObjective::state().
  static Result<DeviceState> create(size_t parameters, Range segment, std::span<std::byte> objective);

  kernels::Bfloat16* weights() const { return weights_.data<kernels::Bfloat16>(); }  // of all parameters
  // Of the segment.
  float* w() const { return own_.data<float>(); }
  float* m() const { return w() + stride_; }
  float* v() const { return w() + 2 * stride_; }

  // All of it, when it returns. `m` and `v` are of the segment; they and `objective` may be empty: zero. Behind what is
  // queued on `stream`. kCorrupt when `objective` is of another length than the objective's.
  Status set(std::span<const float> parameters, std::span<const float> m, std::span<const float> v,
             std::span<const std::byte> objective, cuda::Stream* stream);

  // Of what the work queued on `stream` makes of the state. Its memory is that of the snapshot before.
  Result<TrainingSnapshot> snapshot(const cuda::Stream& stream);
  // What is queued on `stream` from here on may change the state.
  Status wait_for_snapshot(cuda::Stream* stream);

  // One of the segment's arrays, w(), m() or v(), behind what is queued on `stream`, which it waits for.
  Result<std::vector<float>> read(const float* from, cuda::Stream* stream) const;

 private:
  DeviceState(Range segment, size_t stride, std::span<std::byte> objective, cuda::DeviceMemory weights,
              cuda::DeviceMemory own);

  Range segment_;
  size_t stride_;  // floats from one of the segment's arrays to the next
  std::span<std::byte> objective_;
  cuda::DeviceMemory weights_, own_;
  std::unique_ptr<HostCopy> copy_;  // made with the first snapshot
};

}  // namespace freshet::worker
