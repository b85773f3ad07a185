// AdaGrad with one number for each row of a table, in place:
//   sum += mean of gradient^2 over the row;  row = row - learning_rate * gradient / (sqrt(sum) + epsilon)
// (Duchi et al., "Adaptive subgradient methods", JMLR 2011, with one step size a row as in Mudigere et al.,
// "Software-hardware co-design for fast and scalable training of deep learning recommendation models", ISCA 2022.) The
// mean is summed in an order that depends on `dim` only. No overlap. Any thread, on rows of its own.
#pragma once

#include <cstddef>

namespace freshet::kernels {

struct RowwiseAdagradStep {
  float learning_rate = 1e-2F;
  float epsilon = 1e-8F;
};

void rowwise_adagrad(const RowwiseAdagradStep& step, size_t dim, const float* gradient, float* row, float* sum);

namespace ref {
void rowwise_adagrad(const RowwiseAdagradStep& step, size_t dim, const float* gradient, float* row, float* sum);
}  // namespace ref

}  // namespace freshet::kernels
