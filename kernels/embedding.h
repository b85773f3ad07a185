// Embedding lookup and its gradient. table[codes][dim] row-major; out and dout are rows of `stride` floats of which the
// first dim are used (so that several features share one matrix). Codes lie in [0, number of table rows): the caller
// has checked. The gradient adds in row order, so its bits depend on codes and values only. No overlap. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace freshet::kernels {

// out[r] = table[codes[r]]
void embedding_forward(size_t rows, size_t dim, const int32_t* codes, const float* table, float* out, size_t stride);
// out[r] += table[codes[r]]
void embedding_add(size_t rows, size_t dim, const int32_t* codes, const float* table, float* out, size_t stride);
// dtable[codes[r]] += dout[r] for r = 0, 1, ...; the caller has zeroed dtable. Exact zero stays for codes not seen.
void embedding_gradient(size_t rows, size_t dim, const int32_t* codes, const float* dout, size_t stride, float* dtable);

namespace ref {
void embedding_forward(size_t rows, size_t dim, const int32_t* codes, const float* table, float* out, size_t stride);
// Sums in double and rounds once; `codes_count` is the number of rows of dtable, which it overwrites.
void embedding_gradient(size_t rows, size_t dim, const int32_t* codes, const float* dout, size_t stride, float* dtable,
                        size_t codes_count);
}  // namespace ref

}  // namespace freshet::kernels
