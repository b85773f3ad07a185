// One micro-batch's work being queued: forward, head, backward, in this order. Lives for one call. Internal to
// GptDevice.
#pragma once

#include "kernels/cuda/norm.h"
#include "kernels/cuda/rope.h"
#include "worker/gpu/gpt_device.h"
#include "worker/gpu/gpt_device_float8.h"
#include "worker/gpu/gpt_device_products.h"

namespace freshet::worker {

class GptDevicePass {
 public:
  using Bfloat16 = kernels::Bfloat16;

  // Without a `gradient` nothing is kept for one, and no masks are drawn. Without a `side` all is made on `stream`.
  GptDevicePass(const GptModel& model, const GptDevicePlan& plan, std::byte* arena, cuda::Products* products,
                const GptDeviceInput& input, const Bfloat16* weights, float* gradient, cuda::Stream* stream,
                GptDeviceSide* side = nullptr);

  // Leaves the normed residual stream in plan.normed_last.
  Status forward();
  // losses[groups]: their sums over as many groups of equally many rows. With a gradient: that of the output matrix in
  // it, and that of normed_last in its place.
  Status head(size_t groups, double* losses);
  // Of all other tensors.
  Status backward(const GptDevice::PartReady& is_ready);
  Status next_token_logits(float* logits);

 private:
  const GptDeviceLayer& layer(size_t index) const { return plan_.layers[gradient_ == nullptr ? 0 : index]; }
  Bfloat16* values(size_t offset) const { return reinterpret_cast<Bfloat16*>(arena_ + offset); }
  // Null where there is no such buffer.
  float* floats(size_t offset) const {
    return offset == kNoBuffer ? nullptr : reinterpret_cast<float*>(arena_ + offset);
  }
  const Bfloat16* weight(size_t offset) const { return offset == kNoTensor ? nullptr : weights_ + offset; }
  bool gated() const { return config_.style == GptConfig::Style::kLlama; }
  bool makes_again(Recompute what) const { return plan_.options.recompute == what; }

  // From the residual stream as it was before (and, but for the first layer, what is added to it) to what is added
  // next. `again`: the layer's input is there.
  Status attend(size_t l, bool again);
  Status feed_forward(size_t l, bool again);
  Status feed_forward_backward(size_t l);
  Status attend_backward(size_t l);
  Status embed();
  Status embed_backward();

  // sum = x + add, with the mask of `dropout_site` on what is added; y = norm(sum). Without `add`: y = norm(x).
  Status norm(const GptNorm& at, size_t x, size_t add, size_t dropout_site, size_t sum, size_t y, size_t mean,
              size_t scale);
  Status norm_again(const GptNorm& at, size_t h, size_t mean, size_t scale, size_t y);
  // d_residual += the gradient that dy has left; is it when it is the first. The norm's own weights' too, and the
  // bias's of what was added to the residual stream before it, unless a mask lay between: masked_residual_gradient()
  // has it then. `added`: null before the first.
  Status norm_backward(const GptNorm& at, const GptDense* added, size_t h, size_t mean, size_t scale, size_t dy,
                       bool is_first);
  Status drop(size_t site, const Bfloat16* x, Bfloat16* y);
  // What `added` adds to the residual stream has this gradient: d_residual, or its copy behind the mask of the site.
  Result<const Bfloat16*> masked_residual_gradient(const GptDense& added, size_t site);
  Status rope(const float* table, Bfloat16* qkv, bool backward);

  // Of a dense layer's input, or of its output's gradient, with its weight.
  Status dense_product(const GptDense& dense, Float8Array values, const cuda::ProductShape& shape,
                       cuda::ProductOperands operands);
  Status forward_dense(const GptDense& dense, size_t x, size_t y, cuda::Epilogue epilogue, size_t z = kNoBuffer);
  // With an activation's gradient as the epilogue: from `z`, and of the bias that it was made with, too.
  Status input_gradient(const GptDense& dense, const Bfloat16* dy, size_t dx, cuda::Epilogue epilogue,
                        size_t z = kNoBuffer, float* bias_gradient = nullptr);
  // Beside what is queued from now on, until join().
  Status weight_gradient(const GptDense& dense, size_t x, const Bfloat16* dy,
                         cuda::Epilogue epilogue = cuda::Epilogue::kNone);
  // What is queued from now on begins when the gradients of weights that were queued are there.
  Status join();

  const GptConfig& config_;
  const GptLayout& layout_;
  const GptDevicePlan& plan_;
  std::byte* const arena_;
  const std::optional<GptDeviceFloat8> float8_;  // of passes with a gradient
  cuda::Products& products_;
  const GptDeviceInput& input_;
  const Bfloat16* const weights_;
  float* const gradient_;
  cuda::Stream& main_;
  GptDeviceSide* const side_;
  const cuda::CudaStream stream_;  // main_'s
  const size_t rows_;
  const float dropout_;
};

}  // namespace freshet::worker
