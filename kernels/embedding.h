// Embedding lookup and its gradient. table[codes][dim] row-major; out and dout are rows of `stride` floats of which the
// first dim are used (so that several features share one matrix). Codes lie in [0, number of table rows): the caller
// has checked. The gradient adds in row order, so its bits depend on codes and values only. No overlap. Any thread.
// A bag is a row with any number of codes: those of row r are codes[offsets[r], offsets[r + 1]).
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

// out[r] = the mean of table[code] over the row's codes, added in their order; 0 where there is none.
void embedding_bag_forward(size_t rows, size_t dim, const int32_t* codes, const uint32_t* offsets, const float* table,
                           float* out, size_t stride);
// dout[r] /= the number of the row's codes: from the gradient of a mean to that of each of its terms.
void embedding_bag_share(size_t rows, size_t dim, const uint32_t* offsets, float* dout, size_t stride);
// dtable[code] += dout[r] for each code of r = 0, 1, ..., with dout as embedding_bag_share leaves it.
void embedding_bag_gradient(size_t rows, size_t dim, const int32_t* codes, const uint32_t* offsets, const float* dout,
                            size_t stride, float* dtable);

namespace ref {
void embedding_forward(size_t rows, size_t dim, const int32_t* codes, const float* table, float* out, size_t stride);
// Sums in double and rounds once; `codes_count` is the number of rows of dtable, which it overwrites.
void embedding_gradient(size_t rows, size_t dim, const int32_t* codes, const float* dout, size_t stride, float* dtable,
                        size_t codes_count);
void embedding_bag_forward(size_t rows, size_t dim, const int32_t* codes, const uint32_t* offsets, const float* table,
                           float* out, size_t stride);
// From the gradient of the means, and as embedding_gradient else.
void embedding_bag_gradient(size_t rows, size_t dim, const int32_t* codes, const uint32_t* offsets, const float* dout,
                            size_t stride, float* dtable, size_t codes_count);
}  // namespace ref

}  // namespace freshet::kernels
