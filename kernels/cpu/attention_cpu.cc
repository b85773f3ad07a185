#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/small_matmul.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

constexpr size_t kTile = kAttentionTile;
// On the diagonal a tile's products are cut into blocks of so many rows, which leave out what all of them hide.
constexpr size_t kBlockRows = kLanes;

// Rows [row, row + rows) of queries against columns [column, column + columns) of keys; scores are [rows][kTile].
struct TilePlace {
  size_t row = 0, rows = 0, column = 0, columns = 0;

  size_t visible(size_t r) const { return std::min(columns, row + r + 1 - column); }
  // The first row that sees this column.
  size_t first_row(size_t c) const { return row >= column + c ? 0 : column + c - row; }
};

// job(begin, count) for the `rows` of a tile, block by block.
template <typename Job>
void over_blocks(size_t rows, Job job) {
  for (size_t r = 0; r < rows; r += kBlockRows) job(r, std::min(kBlockRows, rows - r));
}

// What a row of queries has seen so far.
struct Running {
  float largest[kTile];
  float sum[kTile];
};

float scale_of(const AttentionShape& shape) { return 1.0F / std::sqrt(static_cast<float>(shape.size)); }

// Scores become e^(scale * score - largest so far), hidden ones of the row's block 0; `shrink` is what earlier tiles'
// results are worth beside these.
FRESHET_MULTIVERSION void softmax_tile(const TilePlace& place, float scale, float* scores, Running* running,
                                       float* shrink) {
  for (size_t r = 0; r < place.rows; ++r) {
    float* row = scores + r * kTile;
    const size_t visible = place.visible(r);
    F16 most = all_of(-std::numeric_limits<float>::infinity());
    over_row(visible, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 v = load(row + c) * scale;  // a row of the tile always has whole vectors of memory
      most = larger(most, n < kLanes ? first_lanes(v, n, v[0]) : v);
    });
    const float before = running->largest[r], largest = std::max(before, largest_of(most));
    F16 sum{};
    over_row(visible, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 e = exp_of(load(row + c) * scale - largest);
      if (n < kLanes) e = first_lanes(e, n, 0);
      store(e, row + c);
      sum += e;
    });
    shrink[r] = exp_of(all_of(before - largest))[0];
    running->sum[r] = running->sum[r] * shrink[r] + sum_of(sum);
    running->largest[r] = largest;
  }
}

FRESHET_MULTIVERSION void scale_rows(size_t rows, size_t size, size_t stride, const float* factor, float* out) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < size; ++c) out[r * stride + c] *= factor[r];
  }
}

// scores become the probabilities p, and dp the gradient of the scores before scaling by 1 / sqrt(size) was undone:
// p (dp - dot) scale, where dot is the row's out * dout.
FRESHET_MULTIVERSION void gradient_tile(const TilePlace& place, float scale, const float* log_sum, const float* dot,
                                        float* scores, float* dp) {
  for (size_t r = 0; r < place.rows; ++r) {
    float *p = scores + r * kTile, *d = dp + r * kTile;
    const size_t visible = place.visible(r);
    over_row(visible, [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA {
      F16 e = exp_of(load(p + c) * scale - log_sum[r]);
      F16 g = (e * (load(d + c) - dot[r])) * scale;
      if (n < kLanes) {
        e = first_lanes(e, n, 0);
        g = first_lanes(g, n, 0);
      }
      store(e, p + c);
      store(g, d + c);
    });
  }
}

FRESHET_MULTIVERSION void row_dots(size_t rows, size_t size, size_t stride, const float* a, const float* b,
                                   float* dots) {
  for (size_t r = 0; r < rows; ++r, a += stride, b += stride) {
    F16 sum{};
    over_row(size,
             [&](size_t c, size_t n) FRESHET_INLINE_LAMBDA { sum += load_up_to(a + c, n) * load_up_to(b + c, n); });
    dots[r] = sum_of(sum);
  }
}

// The queries from `row` on, beside the keys from `column` on; column <= row.
TilePlace tile_at(const AttentionShape& shape, size_t row, size_t column) {
  return {row, std::min(kTile, shape.length - row), column, std::min(kTile, shape.length - column)};
}

// out[row] (+)= what the row sees of a[row][column] times x[column].
void multiply_visible(const TilePlace& at, const float* a, const float* x, size_t size, size_t stride, float* out,
                      size_t out_stride) {
  over_blocks(at.rows, [&](size_t r, size_t rows) {
    small_matmul({rows, size, at.visible(r + rows - 1), at.column > 0}, {a + r * kTile, kTile}, x, stride,
                 out + r * out_stride, out_stride);
  });
}

// out[column] (+)= a[row][column] times x[row] over the rows that see the column.
void multiply_visible_transposed(const TilePlace& at, const float* a, const float* x, size_t size, size_t stride,
                                 bool accumulate, float* out, size_t out_stride) {
  over_blocks(at.columns, [&](size_t c, size_t columns) {
    const size_t first = at.first_row(c);
    small_matmul({columns, size, at.rows - first, accumulate}, {a + first * kTile + c, kTile, true}, x + first * stride,
                 stride, out + c * out_stride, out_stride);
  });
}

// scores[row][column] = x[row] times what lies in `transposed`, [size][column], as far as the row sees.
void multiply_scores(const TilePlace& at, const float* x, size_t size, size_t stride, const float* transposed,
                     float* scores) {
  over_blocks(at.rows, [&](size_t r, size_t rows) {
    small_matmul({rows, at.visible(r + rows - 1), size}, {x + r * stride, stride}, transposed, kTile,
                 scores + r * kTile, kTile);
  });
}

// `transposed` is [size][kTile].
void forward_rows(const AttentionShape& shape, size_t row, const float* q, const float* k, const float* v, float* out,
                  float* log_sum, float* scores, float* transposed) {
  Running running;
  std::fill_n(running.largest, kTile, -std::numeric_limits<float>::infinity());
  std::fill_n(running.sum, kTile, 0.0F);
  float factor[kTile];
  const float scale = scale_of(shape);
  float* rows_out = out + row * shape.out_stride;
  for (size_t column = 0; column <= row; column += kTile) {
    const TilePlace at = tile_at(shape, row, column);
    transpose(at.columns, shape.size, k + at.column * shape.stride, shape.stride, transposed, kTile);
    multiply_scores(at, q + row * shape.stride, shape.size, shape.stride, transposed, scores);
    softmax_tile(at, scale, scores, &running, factor);
    if (at.column > 0) scale_rows(at.rows, shape.size, shape.out_stride, factor, rows_out);
    multiply_visible(at, scores, v + at.column * shape.stride, shape.size, shape.stride, rows_out, shape.out_stride);
  }
  const size_t rows = std::min(kTile, shape.length - row);
  for (size_t r = 0; r < rows; ++r) {
    factor[r] = 1.0F / running.sum[r];
    log_sum[row + r] = running.largest[r] + static_cast<float>(std::log(static_cast<double>(running.sum[r])));
  }
  scale_rows(rows, shape.size, shape.out_stride, factor, rows_out);
}

}  // namespace

size_t attention_scratch(const AttentionShape& shape) {
  return 2 * kTile * kTile + shape.length + 2 * shape.size * kTile;
}

void attention_forward(const AttentionShape& shape, const float* q, const float* k, const float* v, float* out,
                       float* log_sum, float* scratch) {
  for (size_t head = 0; head < shape.group; ++head) {
    for (size_t row = 0; row < shape.length; row += kTile) {
      forward_rows(shape, row, q + head * shape.size, k, v, out + head * shape.size, log_sum + head * shape.length,
                   scratch, scratch + kTile * kTile);
    }
  }
}

void attention_gradient(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* out,
                        const float* log_sum, const float* dout, float* dq, float* dk, float* dv, float* scratch) {
  const size_t size = shape.size, stride = shape.stride;
  float *scores = scratch, *dp = scores + kTile * kTile, *dots = dp + kTile * kTile;
  float *keys = dots + shape.length, *values = keys + size * kTile;  // of a tile, transposed
  const float scale = scale_of(shape);
  for (size_t head = 0; head < shape.group; ++head) {
    row_dots(shape.length, size, shape.out_stride, out + head * size, dout + head * size, dots);
    for (size_t column = 0; column < shape.length; column += kTile) {
      const size_t columns = std::min(kTile, shape.length - column);
      transpose(columns, size, k + column * stride, stride, keys, kTile);
      transpose(columns, size, v + column * stride, stride, values, kTile);
      for (size_t row = column; row < shape.length; row += kTile) {
        const TilePlace at = tile_at(shape, row, column);
        const float *q_rows = q + head * size + row * stride, *dout_rows = dout + head * size + row * shape.out_stride;
        // These keys' sums begin with the first queries that see them: those of their own tile, of the first head.
        const bool more = head > 0 || row > column;
        multiply_scores(at, q_rows, size, stride, keys, scores);
        multiply_scores(at, dout_rows, size, shape.out_stride, values, dp);
        gradient_tile(at, scale, log_sum + head * shape.length + row, dots + row, scores, dp);
        multiply_visible_transposed(at, scores, dout_rows, size, shape.out_stride, more, dv + column * stride, stride);
        multiply_visible_transposed(at, dp, q_rows, size, stride, more, dk + column * stride, stride);
        multiply_visible(at, dp, k + column * stride, size, stride, dq + head * size + row * stride, stride);
      }
    }
  }
}

}  // namespace freshet::kernels
