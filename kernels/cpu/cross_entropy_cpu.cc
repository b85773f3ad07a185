#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void softmax_parts(const LogitBlock& block, const float* logits, const int32_t* target,
                                        SoftmaxPart* parts, float* logit) {
  const size_t columns = block.columns();
  for (size_t r = 0; r < block.rows; ++r, logits += block.stride) {
    F16 most = all_of(-std::numeric_limits<float>::infinity());
    over_row(columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 v = load_up_to(logits + c, n);
      most = larger(most, n < kLanes ? first_lanes(v, n, logits[c]) : v);
    });
    const float largest = largest_of(most);
    F16 sum{};
    over_row(columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 e = exp_of(load_up_to(logits + c, n) - largest);
      sum += n < kLanes ? first_lanes(e, n, 0) : e;
    });
    parts[r] = {largest, sum_of(sum)};
    const auto t = static_cast<size_t>(target[r]);
    if (target[r] >= 0 && t >= block.begin && t < block.end) logit[r] = logits[t - block.begin];
  }
}

double join_softmax_parts(size_t rows, size_t blocks, const SoftmaxPart* parts, const int32_t* target,
                          const float* logit, float* log_sum) {
  double loss = 0;
  for (size_t r = 0; r < rows; ++r) {
    float largest = parts[r].largest;
    for (size_t b = 1; b < blocks; ++b) largest = std::max(largest, parts[b * rows + r].largest);
    double sum = 0;
    for (size_t b = 0; b < blocks; ++b) {
      const SoftmaxPart& part = parts[b * rows + r];
      sum += static_cast<double>(part.sum) * std::exp(static_cast<double>(part.largest) - static_cast<double>(largest));
    }
    const double log = static_cast<double>(largest) + std::log(sum);
    log_sum[r] = static_cast<float>(log);
    if (target[r] >= 0) loss += log - static_cast<double>(logit[r]);
  }
  return loss;
}

FRESHET_MULTIVERSION void cross_entropy_gradient(const LogitBlock& block, const int32_t* target, const float* log_sum,
                                                 float scale, float* logits) {
  const size_t columns = block.columns();
  for (size_t r = 0; r < block.rows; ++r, logits += block.stride) {
    if (target[r] < 0) {
      std::fill(logits, logits + columns, 0.0F);
      continue;
    }
    const float log = log_sum[r];
    const auto t = static_cast<size_t>(target[r]);
    const bool here = t >= block.begin && t < block.end;
    const float logit = here ? logits[t - block.begin] : 0;
    over_row(columns, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      store_up_to(exp_of(load_up_to(logits + c, n) - log) * scale, logits + c, n);
    });
    if (here) {
      F16 p = exp_of(all_of(logit - log));
      logits[t - block.begin] = (p[0] - 1.0F) * scale;
    }
  }
}

}  // namespace freshet::kernels
