#include "kernels/embedding.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

// A large table's rows come from memory: so many are on their way at a time.
constexpr size_t kAhead = 16;

FRESHET_INLINE void fetch_row(const float* table, int32_t code, size_t dim) {
  const float* row = table + static_cast<size_t>(code) * dim;
  for (size_t d = 0; d < dim; d += kLanes) __builtin_prefetch(row + d);
}

}  // namespace

FRESHET_MULTIVERSION void embedding_forward(size_t rows, size_t dim, const int32_t* __restrict codes,
                                            const float* __restrict table, float* __restrict out, size_t stride) {
  for (size_t r = 0; r < std::min(rows, kAhead); ++r) fetch_row(table, codes[r], dim);
  for (size_t r = 0; r < rows; ++r) {
    if (r + kAhead < rows) fetch_row(table, codes[r + kAhead], dim);
    const float* row = table + static_cast<size_t>(codes[r]) * dim;
    float* to = out + r * stride;
    size_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) store(load(row + d), to + d);
    for (; d < dim; ++d) to[d] = row[d];
  }
}

FRESHET_MULTIVERSION void embedding_add(size_t rows, size_t dim, const int32_t* __restrict codes,
                                        const float* __restrict table, float* __restrict out, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    const float* row = table + static_cast<size_t>(codes[r]) * dim;
    for (size_t d = 0; d < dim; ++d) out[r * stride + d] += row[d];
  }
}

FRESHET_MULTIVERSION void embedding_gradient(size_t rows, size_t dim, const int32_t* __restrict codes,
                                             const float* __restrict dout, size_t stride, float* __restrict dtable) {
  for (size_t r = 0; r < rows; ++r) {
    float* sum = dtable + static_cast<size_t>(codes[r]) * dim;
    const float* row = dout + r * stride;
    for (size_t d = 0; d < dim; ++d) sum[d] += row[d];
  }
}

FRESHET_MULTIVERSION void embedding_bag_forward(size_t rows, size_t dim, const int32_t* __restrict codes,
                                                const uint32_t* __restrict offsets, const float* __restrict table,
                                                float* __restrict out, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    float* mean = out + r * stride;
    std::fill(mean, mean + dim, 0.0F);
    for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) {
      if (i + kAhead < offsets[rows]) fetch_row(table, codes[i + kAhead], dim);
      const float* row = table + static_cast<size_t>(codes[i]) * dim;
      for (size_t d = 0; d < dim; ++d) mean[d] += row[d];
    }
  }
  embedding_bag_share(rows, dim, offsets, out, stride);
}

FRESHET_MULTIVERSION void embedding_bag_share(size_t rows, size_t dim, const uint32_t* __restrict offsets,
                                              float* __restrict dout, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    const uint32_t count = offsets[r + 1] - offsets[r];
    if (count < 2) continue;
    const float share = 1.0F / static_cast<float>(count);
    for (size_t d = 0; d < dim; ++d) dout[r * stride + d] *= share;
  }
}

FRESHET_MULTIVERSION void embedding_bag_gradient(size_t rows, size_t dim, const int32_t* __restrict codes,
                                                 const uint32_t* __restrict offsets, const float* __restrict dout,
                                                 size_t stride, float* __restrict dtable) {
  for (size_t r = 0; r < rows; ++r) {
    const float* row = dout + r * stride;
    for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) {
      float* sum = dtable + static_cast<size_t>(codes[i]) * dim;
      for (size_t d = 0; d < dim; ++d) sum[d] += row[d];
    }
  }
}

}  // namespace freshet::kernels
