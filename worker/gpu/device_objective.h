// What a training on a GPU makes smaller: the counterpart of Objective, whose work is queued on a stream and never
// waited for. All micro-batches have one shape, so that their work can be recorded once as a graph; those with fewer
// examples are filled up with ones that do not count. One object per rank, on the thread that trains, but for
// fill_input().
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/adamw.h"
#include "kernels/cuda/device.h"
#include "worker/checkpoint/tensors.h"
#include "worker/gpu/device_tables.h"
#include "worker/train/objective.h"

namespace freshet::worker {

class DeviceObjective {
 public:
  virtual ~DeviceObjective() = default;

  // But for those of tables().
  virtual size_t parameters() const = 0;
  virtual size_t examples() const = 0;
  // What the parameters are.
  virtual const std::vector<TensorView>& tensors() const = 0;

  // Bytes that tell the device of one micro-batch: its examples, what of them is sorted by the host, `scale`.
  virtual size_t input_bytes() const = 0;
  // Fills input_bytes() of `input`, which is pinned and a copy of which forward_backward() reads. `scale`: what the
  // gradient of the sum of the losses is multiplied by. A micro-batch of no examples may be asked for. Any thread.
  virtual Status fill_input(const MicroBatch& batch, float scale, std::byte* input) const = 0;

  // Where tables are shared out over ranks: bytes that tell the device of what a micro-batch of the global batch, of
  // whichever rank, looks up in this rank's tables. 0: nothing.
  virtual size_t lookup_bytes() const { return 0; }
  // As fill_input(), of lookup_bytes().
  virtual Status fill_lookups(const MicroBatch& batch, std::byte* lookups) const {
    (void)batch, (void)lookups;
    return Status::ok();
  }

  // Where the parts of a gradient begin, ascending, the first of them 0: what a backward pass has written when it is
  // through with some of its work.
  virtual std::vector<size_t> gradient_parts() const { return {0}; }
  // Called when what writes a part of the gradient is queued; the last part comes first.
  using PartReady = std::function<Status(size_t part)>;

  // Queues, for the micro-batch that `input` (device memory, on a border of 256 bytes) tells of: the sum of its losses
  // in *loss, and in `gradient` (as long as the parameters, overwritten) the gradient of that sum times its scale. The
  // bits depend on the micro-batch, the weights and the state only. All arrays are device memory that stays where it is
  // for a recorded graph. `is_ready` is called for each part.
  virtual Status forward_backward(const std::byte* input, const kernels::Bfloat16* weights, float* gradient,
                                  double* loss, cuda::Stream* stream, const PartReady& is_ready) = 0;

  // What the objective keeps from step to step beside the weights, the same on all ranks: device memory that begins as
  // zero bytes, which only end_step() changes, and which is part of checkpoints. Empty: nothing.
  virtual std::span<std::byte> state() const { return {}; }
  // What a rank's micro-batches of a step leave for end_step(): device memory. Empty: nothing.
  virtual std::span<std::byte> notes() const { return {}; }

  // Parameters that the objective trains by itself, beside the flat ones: tables of embeddings. Null: none.
  virtual DeviceTables* tables() { return nullptr; }

  // The following are called for each step, also of a rank that has no micro-batches; the first two are collective. All
  // they are given lies in device memory.
  // Queued in front of the micro-batches. `lookups`: of each one of the global batch, null where lookup_bytes() is 0.
  virtual Status begin_step(const kernels::Bfloat16* weights, std::span<const std::byte* const> lookups,
                            cuda::Stream* stream) {
    (void)weights, (void)lookups, (void)stream;
    return Status::ok();
  }
  // Queued behind the micro-batches, of which the global batch has so many.
  virtual Status end_passes(size_t micro_batches, cuda::Stream* stream) {
    (void)micro_batches, (void)stream;
    return Status::ok();
  }
  // Queued behind the update of the weights: unless output->is_applied is 0, moves the tables, and `notes`, those of
  // all ranks, one after the other, go into the state.
  virtual Status end_step(const cuda::StepInput* step, const cuda::StepOutput* output, std::span<const std::byte> notes,
                          cuda::Stream* stream) {
    (void)step, (void)output, (void)notes, (void)stream;
    return Status::ok();
  }
};

}  // namespace freshet::worker
