#include "kernels/embedding.h"

#include <cstring>

#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

void embedding_forward(size_t rows, size_t dim, const int32_t* codes, const float* table, float* out, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    std::memcpy(out + r * stride, table + static_cast<size_t>(codes[r]) * dim, dim * sizeof(float));
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

}  // namespace freshet::kernels
