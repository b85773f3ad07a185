// One micro-batch going through a gpt: forward, head, backward, in this order, each step of it spread over the pool.
// Lives for one call. Internal to worker/model.
#pragma once

#include <functional>
#include <vector>

#include "worker/model/gpt.h"
#include "worker/model/gpt_workspace.h"
#include "worker/model/products.h"

namespace freshet::worker {

class GptPass {
 public:
  // `dropout`: whether masks are drawn.
  GptPass(const GptModel& model, const GptBatch& batch, const GptParameters& parameters, bool dropout, ThreadPool* pool,
          GptWorkspace* workspace);

  // Leaves the normed residual stream in workspace.normed_last.
  Status forward();
  // The sum of the losses. With a gradient: that of the output matrix in it, and that of normed_last in d_normed.
  Result<double> head(float scale, float* gradient);
  // Of all other tensors, from d_normed.
  Status backward(float* gradient);
  // The logits of `rows` rows of normed_last, from `first` on and `step` rows apart.
  Status logits(size_t first, size_t step, size_t rows, float* out);

 private:
  using Side = std::vector<std::function<void()>>;

  Status attend(GptLayerState& layer);
  Status attend_backward(GptLayerState& layer);
  Status feed_forward(const GptLayer& at, GptLayerState& layer);
  Status feed_forward_backward(const GptLayer& at, GptLayerState& layer, const GptRows& d_added, float* gradient);
  Status norm(const GptNorm& at, const float* x, float* add, size_t dropout_site, float* sum, GptRows& y,
              CacheArray<float>& mean, CacheArray<float>& scale);
  // d_residual += the gradient that d_normed has left; the norm's own weights' too.
  Status norm_backward(const GptNorm& at, const float* h, const CacheArray<float>& mean, const CacheArray<float>& scale,
                       float* gradient);
  Status embed();
  Status embed_backward(float* gradient);
  Result<double> head_chunk(size_t row, size_t rows, float scale, float* gradient);
  Status head_gradient(size_t row, size_t rows, float scale, float* gradient);

  // What is added to the residual stream has this gradient: d_residual, or its copy behind the mask of the site.
  Result<const GptRows*> masked_residual_gradient(size_t dropout_site);
  void drop(size_t site, size_t begin, size_t end, float* rows) const;

  Product forward_product(const GptDense& dense, const GptRows& x, float* y) const;
  Product input_gradient(const GptDense& dense, const GptRows& dy, float* dx) const;
  Product weight_gradient(const GptDense& dense, const GptRows& x, const GptRows& dy, float* gradient) const;
  void add_bias_gradient(const GptDense& dense, const float* dy, float* gradient, Side* side) const;
  Factor weight(size_t offset, size_t stride, bool transposed) const;
  Factor operand(const GptRows& rows, bool transposed, size_t first_row = 0) const;
  static void round(const GptRows& rows, const TileRange& tile);

  size_t blocks() const;
  kernels::LogitBlock block(size_t index, size_t rows) const;

  const GptConfig& config_;
  const GptLayout& layout_;
  const GptBatch& batch_;
  const GptParameters& parameters_;
  const float dropout_;
  ThreadPool* const pool_;
  GptWorkspace& w_;
  const size_t rows_;
  const bool bfloat16_;
};

}  // namespace freshet::worker
