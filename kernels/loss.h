// Losses over one column of predictions, with their gradient. Both give the SUM of the loss over the rows (in double,
// in row order); the gradient is multiplied by `scale`, which is 1 / rows of the whole global batch, so that gradients
// of micro-batches add up to that of the mean. `weight` says how much each row counts; null: all count 1. `gradient`
// may be `prediction`. Any thread.
#pragma once

#include <cstddef>

namespace freshet::kernels {

// log(1 + exp(x)) - y * x for a logit x and a label y of 0 or 1; d/dx = sigmoid(x) - y. Finite for every finite x.
double bce_with_logits(size_t rows, const float* logit, const float* label, const float* weight, float scale,
                       float* gradient);
// (x - y)^2; d/dx = 2 (x - y).
double squared_error(size_t rows, const float* prediction, const float* target, const float* weight, float scale,
                     float* gradient);

namespace ref {
double bce_with_logits(size_t rows, const float* logit, const float* label, const float* weight, float scale,
                       float* gradient);
double squared_error(size_t rows, const float* prediction, const float* target, const float* weight, float scale,
                     float* gradient);
}  // namespace ref

}  // namespace freshet::kernels
