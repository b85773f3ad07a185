// A gpt on a device: the same model, parameters and layout as on the CPU (worker/model/gpt.h), one micro-batch at a
// time, as work that is queued on a stream. Weights and activations are bfloat16, gradients of parameters and sums
// float. All memory is allocated by create(), as planned (gpt_device_plan.h); the passes allocate nothing and wait for
// nothing, so they can be recorded as a graph. Their bits depend on the weights, the input, the plan and the table of
// products; with options.float8 on the magnitudes of the steps before, too. One thread and one stream at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/activation.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/float8.h"
#include "kernels/cuda/products.h"
#include "worker/gpu/gpt_device_plan.h"
#include "worker/model/gpt.h"

namespace freshet::worker {

// A micro-batch in device memory; borders of 16 bytes. Tokens and targets as in GptBatch, and checked by the host.
struct GptDeviceInput {
  const int32_t* tokens = nullptr;   // [rows]
  const int32_t* targets = nullptr;  // [rows]; not for next_token_logits()
  // For forward_backward() only:
  const int32_t* runs = nullptr;  // cuda::token_runs() of the tokens
  const float* scale = nullptr;   // what the gradient is multiplied by
  // gpt_dropout_stream() of each site, and the micro-batch's first element; null without dropout.
  const cuda::DropoutPlace* dropout = nullptr;
  uint64_t dropout_seed = 0;
};

// Where gradients of weights are made beside the rest.
struct GptDeviceSide {
  cuda::Stream stream;
  cuda::Products products;  // a workspace of its own
  cuda::Event begins, ends;
};

class GptDevice {
 public:
  // Called when what writes a part of the gradient is queued.
  using PartReady = std::function<Status(size_t part)>;

  // Plans, allocates and makes the tables that depend on the configuration only. `products`: the algorithms of
  // gpt_device_products(), or none; unless it is for training, the library's first proposals stand in for what is not
  // in it. The model must outlive it.
  static Result<GptDevice> create(const GptModel& model, const GptDeviceShape& shape, const GptDeviceOptions& options,
                                  const cuda::ProductTable& products = {});

  const GptModel& model() const { return *model_; }
  const GptDevicePlan& plan() const { return plan_; }
  // Of device memory, but for what the products' library takes.
  size_t bytes() const { return arena_.bytes(); }

  // Queued in front of a step's micro-batches, which take what they need of the layers' weights in 8 bits from here.
  // Nothing without options.float8.
  Status begin_step(const kernels::Bfloat16* weights, cuda::Stream* stream);
  // Queued behind them, unless the magnitudes that they have seen are to be forgotten: the scales of `ranks` devices,
  // one after the other, go into the histories if *is_applied is not 0 (end_float8_step).
  Status end_step(size_t ranks, const cuda::Float8Scale* scales, const int32_t* is_applied, cuda::Stream* stream);
  // Empty without options.float8.
  std::span<cuda::Float8Scale> float8_scales() const;
  std::span<cuda::Float8History> float8_histories() const;

  // losses[s]: the SUM of the cross entropy over sequence s's tokens that have a target, without dropout.
  Status losses(const GptDeviceInput& input, const kernels::Bfloat16* weights, double* losses, cuda::Stream* stream);
  // *loss: that sum over all sequences, with dropout; in `gradient` (as long as the parameters, overwritten) its
  // gradient times the input's scale. `is_ready`, where there is one, is called for each of the gradient's parts, the
  // last first.
  Status forward_backward(const GptDeviceInput& input, const kernels::Bfloat16* weights, float* gradient, double* loss,
                          cuda::Stream* stream, const PartReady& is_ready = {});
  // Where the parts of a gradient begin, ascending: the embeddings, each layer, what follows them.
  std::vector<size_t> gradient_parts() const;
  // The logits after the last token of each sequence, [sequences][plan().logits_stride], of which the first
  // `vocabulary` of each row are set.
  Status next_token_logits(const GptDeviceInput& input, const kernels::Bfloat16* weights, float* logits,
                           cuda::Stream* stream);

 private:
  GptDevice(const GptModel& model, GptDevicePlan plan, cuda::DeviceMemory arena, cuda::Products products,
            std::optional<GptDeviceSide> side);

  const GptModel* model_;
  GptDevicePlan plan_;
  cuda::DeviceMemory arena_;
  cuda::Products products_;
  std::optional<GptDeviceSide> side_;
};

}  // namespace freshet::worker
