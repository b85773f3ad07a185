#include "kernels/embedding.h"

#include <vector>

namespace freshet::kernels::ref {

void embedding_forward(size_t rows, size_t dim, const int32_t* codes, const float* table, float* out, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t d = 0; d < dim; ++d) out[r * stride + d] = table[static_cast<size_t>(codes[r]) * dim + d];
  }
}

void embedding_gradient(size_t rows, size_t dim, const int32_t* codes, const float* dout, size_t stride, float* dtable,
                        size_t codes_count) {
  std::vector<double> sums(codes_count * dim);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t d = 0; d < dim; ++d) {
      sums[static_cast<size_t>(codes[r]) * dim + d] += static_cast<double>(dout[r * stride + d]);
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) dtable[i] = static_cast<float>(sums[i]);
}

void embedding_bag_forward(size_t rows, size_t dim, const int32_t* codes, const uint32_t* offsets, const float* table,
                           float* out, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    const double count = offsets[r + 1] - offsets[r];
    for (size_t d = 0; d < dim; ++d) {
      double sum = 0;
      for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) {
        sum += static_cast<double>(table[static_cast<size_t>(codes[i]) * dim + d]);
      }
      out[r * stride + d] = count == 0 ? 0.0F : static_cast<float>(sum / count);
    }
  }
}

void embedding_bag_gradient(size_t rows, size_t dim, const int32_t* codes, const uint32_t* offsets, const float* dout,
                            size_t stride, float* dtable, size_t codes_count) {
  std::vector<double> sums(codes_count * dim);
  for (size_t r = 0; r < rows; ++r) {
    const double count = offsets[r + 1] - offsets[r];
    for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) {
      for (size_t d = 0; d < dim; ++d) {
        sums[static_cast<size_t>(codes[i]) * dim + d] += static_cast<double>(dout[r * stride + d]) / count;
      }
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) dtable[i] = static_cast<float>(sums[i]);
}

}  // namespace freshet::kernels::ref
