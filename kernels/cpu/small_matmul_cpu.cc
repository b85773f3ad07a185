#include "kernels/cpu/small_matmul.h"

#include <algorithm>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

// A strip of C, so many rows of one vector, stays in registers while k is gone through.
constexpr size_t kStripRows = 8;

// Where the elements of A, B and C of a strip begin; A's are `a_row` and `a_step` apart along m and k.
struct Strip {
  size_t k;
  const float* a;
  size_t a_row, a_step;
  const float* b;
  size_t b_step;
  float* c;
  size_t c_row;
  bool accumulate;
};

template <size_t Rows>
FRESHET_INLINE void multiply_strip(const Strip& s, size_t columns) {
  F16 sum[Rows];
  for (size_t r = 0; r < Rows; ++r) sum[r] = s.accumulate ? load_up_to(s.c + r * s.c_row, columns) : F16{};
  const float *a = s.a, *b = s.b;
  for (size_t p = 0; p < s.k; ++p, a += s.a_step, b += s.b_step) {
    const F16 row = load_up_to(b, columns);
    for (size_t r = 0; r < Rows; ++r) sum[r] += a[r * s.a_row] * row;
  }
  for (size_t r = 0; r < Rows; ++r) store_up_to(sum[r], s.c + r * s.c_row, columns);
}

// All m rows of up to 16 columns.
FRESHET_INLINE void multiply_panel(size_t m, Strip s, size_t columns) {
  auto next = [&](size_t rows) FRESHET_INLINE_LAMBDA {
    m -= rows;
    s.a += rows * s.a_row;
    s.c += rows * s.c_row;
  };
  for (; m >= kStripRows; next(kStripRows)) multiply_strip<kStripRows>(s, columns);
  for (; m > 0; next(1)) multiply_strip<1>(s, columns);
}

FRESHET_INLINE void transpose_block(const float* from, size_t from_stride, float* to, size_t to_stride) {
  F16 rows[kLanes];
  for (size_t r = 0; r < kLanes; ++r) rows[r] = load(from + r * from_stride);
  transpose(rows);
  for (size_t r = 0; r < kLanes; ++r) store(rows[r], to + r * to_stride);
}

}  // namespace

FRESHET_MULTIVERSION void small_matmul(const MatmulShape& shape, const Matrix& a, const float* b, size_t b_stride,
                                       float* c, size_t c_stride) {
  Strip strip{shape.k,  a.data,          a.transposed ? 1 : a.stride, a.transposed ? a.stride : 1, b, b_stride, c,
              c_stride, shape.accumulate};
  over_row(shape.n, [&](size_t column, size_t columns) FRESHET_INLINE_LAMBDA {
    strip.b = b + column;
    strip.c = c + column;
    multiply_panel(shape.m, strip, columns);
  });
}

FRESHET_MULTIVERSION void transpose(size_t rows, size_t columns, const float* from, size_t from_stride, float* to,
                                    size_t to_stride) {
  for (size_t r = 0; r < rows; r += kLanes) {
    for (size_t c = 0; c < columns; c += kLanes) {
      if (r + kLanes <= rows && c + kLanes <= columns) {
        transpose_block(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
        continue;
      }
      for (size_t i = r; i < std::min(r + kLanes, rows); ++i) {
        for (size_t j = c; j < std::min(c + kLanes, columns); ++j) to[j * to_stride + i] = from[i * from_stride + j];
      }
    }
  }
}

}  // namespace freshet::kernels
