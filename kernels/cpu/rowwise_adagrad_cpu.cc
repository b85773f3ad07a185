#include "kernels/rowwise_adagrad.h"

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void rowwise_adagrad(const RowwiseAdagradStep& step, size_t dim, const float* gradient, float* row,
                                          float* sum) {
  F16 squares{};
  over_row(dim, [&](size_t d, size_t n) FRESHET_INLINE_LAMBDA {
    F16 g = load_up_to(gradient + d, n);
    squares += g * g;
  });
  const float total = *sum + sum_of(squares) / static_cast<float>(dim);
  const float scale = step.learning_rate / (__builtin_sqrtf(total) + step.epsilon);
  over_row(dim, [&](size_t d, size_t n) FRESHET_INLINE_LAMBDA {
    store_up_to(load_up_to(row + d, n) - scale * load_up_to(gradient + d, n), row + d, n);
  });
  *sum = total;
}

}  // namespace freshet::kernels
