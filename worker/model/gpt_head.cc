// The output matrix and the loss, for one chunk of rows and one block of the vocabulary at a time: the logits of all
// tokens never exist together.
#include <algorithm>

#include "kernels/cross_entropy.h"
#include "kernels/reduce.h"
#include "worker/model/gpt_pass.h"

namespace freshet::worker {

size_t GptPass::blocks() const { return (config_.vocabulary + kHeadColumns - 1) / kHeadColumns; }

kernels::LogitBlock GptPass::block(size_t index, size_t rows) const {
  const size_t begin = index * kHeadColumns, end = std::min<size_t>(begin + kHeadColumns, config_.vocabulary);
  return {rows, begin, end, end - begin};
}

Result<double> GptPass::head(float scale, float* gradient) {
  double loss = 0;
  for (size_t row = 0; row < rows_; row += kHeadRows) {
    ASSIGN_OR_RETURN(double part, head_chunk(row, std::min(kHeadRows, rows_ - row), scale, gradient));
    loss += part;
  }
  return loss;
}

Result<double> GptPass::head_chunk(size_t row, size_t rows, float scale, float* gradient) {
  const size_t width = config_.width;
  const int32_t* target = batch_.targets + row;
  Status done = pool_->run(blocks(), [&](size_t index, unsigned) -> Status {
    const auto at = block(index, rows);
    float* logits = w_.logits.data() + at.begin * rows;
    RETURN_IF_ERROR(multiply({rows, at.columns(), width}, operand(w_.normed_last, false, row),
                             weight(layout_.output + at.begin * width, width, true), logits, at.stride));
    kernels::softmax_parts(at, logits, target, w_.parts.data() + index * rows, w_.logit.data());
    return Status::ok();
  });
  RETURN_IF_ERROR(done);
  const double loss =
      kernels::join_softmax_parts(rows, blocks(), w_.parts.data(), target, w_.logit.data(), w_.log_sum.data());
  if (gradient != nullptr) RETURN_IF_ERROR(head_gradient(row, rows, scale, gradient));
  return loss;
}

// A job is a group of blocks, which it adds up in their order; the groups' sums are added in theirs.
Status GptPass::head_gradient(size_t row, size_t rows, float scale, float* gradient) {
  const size_t width = config_.width, groups = std::min(blocks(), kHeadGroups);
  w_.block_scratch.resize(pool_->threads());
  Status done = pool_->run(groups, [&](size_t group, unsigned thread) -> Status {
    const size_t first = group * blocks() / groups, end = (group + 1) * blocks() / groups;
    for (size_t index = first; index < end; ++index) {
      const auto at = block(index, rows);
      float* logits = w_.logits.data() + at.begin * rows;
      kernels::cross_entropy_gradient(at, batch_.targets + row, w_.log_sum.data(), scale, logits);
      Factor d{logits, nullptr, at.stride, false};
      if (bfloat16_) {
        auto& rounded = w_.block_scratch[thread];
        rounded.resize(rows * kHeadColumns);
        kernels::to_bfloat16(rows, at.columns(), at.stride, logits, rounded.data());
        d.h = rounded.data();
      }
      Factor d_transposed = d;
      d_transposed.transposed = true;
      const size_t weights = layout_.output + at.begin * width;
      RETURN_IF_ERROR(multiply({at.columns(), width, rows, row > 0}, d_transposed, operand(w_.normed_last, false, row),
                               gradient + weights, width));
      RETURN_IF_ERROR(multiply({rows, width, at.columns(), index > first}, d, weight(weights, width, false),
                               w_.partial.data() + group * rows * width, width));
    }
    return Status::ok();
  });
  RETURN_IF_ERROR(done);
  return run_rows(
      rows, 16,
      [&](size_t begin, size_t end) {
        float* sum = w_.d_normed.f.data() + (row + begin) * width;
        const float* part = w_.partial.data() + begin * width;
        std::copy(part, part + (end - begin) * width, sum);
        for (size_t group = 1; group < groups; ++group) {
          kernels::tree_add((end - begin) * width, part + group * rows * width, sum);
        }
      },
      pool_);
}

}  // namespace freshet::worker
