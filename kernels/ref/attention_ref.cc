#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace freshet::kernels::ref {
namespace {

double dot(size_t size, const float* a, const float* b) {
  double sum = 0;
  for (size_t i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// The probabilities with which the query at `row` looks at tokens 0 to `row`, and the log of their sum before division.
std::vector<double> probabilities(const AttentionShape& shape, const float* q, const float* k, size_t row,
                                  double* log_sum) {
  std::vector<double> p(row + 1);
  for (size_t j = 0; j <= row; ++j) {
    p[j] = dot(shape.size, q + row * shape.stride, k + j * shape.stride) / std::sqrt(static_cast<double>(shape.size));
  }
  double largest = *std::max_element(p.begin(), p.end()), sum = 0;
  for (double score : p) sum += std::exp(score - largest);
  *log_sum = largest + std::log(sum);
  for (double& score : p) score = std::exp(score - *log_sum);
  return p;
}

}  // namespace

void attention_forward(const AttentionShape& shape, const float* q, const float* k, const float* v, float* out,
                       float* log_sum) {
  for (size_t head = 0; head < shape.group; ++head) {
    for (size_t row = 0; row < shape.length; ++row) {
      double log = 0;
      auto p = probabilities(shape, q + head * shape.size, k, row, &log);
      log_sum[head * shape.length + row] = static_cast<float>(log);
      for (size_t i = 0; i < shape.size; ++i) {
        double sum = 0;
        for (size_t j = 0; j <= row; ++j) sum += p[j] * static_cast<double>(v[j * shape.stride + i]);
        out[row * shape.out_stride + head * shape.size + i] = static_cast<float>(sum);
      }
    }
  }
}

void attention_gradient(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* dout,
                        float* dq, float* dk, float* dv) {
  const double scale = 1 / std::sqrt(static_cast<double>(shape.size));
  std::vector<double> dk_sum(shape.length * shape.size), dv_sum(dk_sum.size());
  for (size_t head = 0; head < shape.group; ++head) {
    for (size_t row = 0; row < shape.length; ++row) {
      const float* q_row = q + head * shape.size + row * shape.stride;
      const float* d_row = dout + head * shape.size + row * shape.out_stride;
      double log = 0, mean = 0;
      auto p = probabilities(shape, q + head * shape.size, k, row, &log);
      std::vector<double> dp(row + 1), dq_sum(shape.size);
      for (size_t j = 0; j <= row; ++j) {
        dp[j] = dot(shape.size, d_row, v + j * shape.stride);
        mean += p[j] * dp[j];
      }
      for (size_t j = 0; j <= row; ++j) {
        double ds = p[j] * (dp[j] - mean) * scale;
        for (size_t i = 0; i < shape.size; ++i) {
          dv_sum[j * shape.size + i] += p[j] * static_cast<double>(d_row[i]);
          dk_sum[j * shape.size + i] += ds * static_cast<double>(q_row[i]);
          dq_sum[i] += ds * static_cast<double>(k[j * shape.stride + i]);
        }
      }
      for (size_t i = 0; i < shape.size; ++i) {
        dq[row * shape.stride + head * shape.size + i] = static_cast<float>(dq_sum[i]);
      }
    }
  }
  for (size_t j = 0; j < shape.length; ++j) {
    for (size_t i = 0; i < shape.size; ++i) {
      dk[j * shape.stride + i] = static_cast<float>(dk_sum[j * shape.size + i]);
      dv[j * shape.stride + i] = static_cast<float>(dv_sum[j * shape.size + i]);
    }
  }
}

}  // namespace freshet::kernels::ref
