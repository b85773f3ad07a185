// The output matrix and the loss, for one chunk of rows at a time: the logits of all tokens never exist together.
#include <algorithm>

#include "kernels/cuda/cross_entropy.h"
#include "worker/gpu/gpt_device_pass.h"

namespace freshet::worker {

Status GptDevicePass::head(size_t groups, double* losses) {
  const size_t width = config_.width;
  Bfloat16* logits = values(plan_.logits);
  const Bfloat16* output = weight(layout_.output);
  for (size_t row = 0; row < rows_; row += plan_.head_rows) {
    const size_t rows = std::min(plan_.head_rows, rows_ - row);
    Bfloat16* normed = values(plan_.normed_last) + row * width;
    const cuda::LogitChunk chunk{rows, config_.vocabulary, plan_.logits_stride};
    float* of_rows = floats(plan_.losses) + row;
    RETURN_IF_ERROR(products_.run(logits_product(config_, rows),
                                  {normed, width, output, width, logits, plan_.logits_stride}, stream_));
    if (gradient_ == nullptr) {
      RETURN_IF_ERROR(cuda::cross_entropy_forward(chunk, logits, input_.targets + row, of_rows, stream_));
      continue;
    }
    RETURN_IF_ERROR(cuda::cross_entropy_backward(chunk, input_.scale, input_.targets + row, logits, of_rows, stream_));
    RETURN_IF_ERROR(products_.run(logits_weight_gradient_product(config_, rows, row == 0),
                                  {logits, plan_.logits_stride, normed, width, gradient_ + layout_.output, width},
                                  stream_));
    RETURN_IF_ERROR(products_.run(logits_input_gradient_product(config_, rows),
                                  {logits, plan_.logits_stride, output, width, normed, width}, stream_));
  }
  return cuda::sum_losses(groups, rows_ / groups, floats(plan_.losses), losses, stream_);
}

Status GptDevicePass::next_token_logits(float* logits) {
  const size_t width = config_.width, length = plan_.shape.length;
  return products_.run(next_token_product(config_, plan_.shape.sequences),
                       {values(plan_.normed_last) + (length - 1) * width, length * width, weight(layout_.output), width,
                        logits, plan_.logits_stride},
                       stream_);
}

}  // namespace freshet::worker
