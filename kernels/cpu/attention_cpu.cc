#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"
#include "kernels/matmul.h"

namespace freshet::kernels {
namespace {

constexpr size_t kTile = kAttentionTile;

// Rows [row, row + rows) of queries against columns [column, column + columns) of keys; scores are [rows][kTile].
struct TilePlace {
  size_t row = 0, rows = 0, column = 0, columns = 0;

  size_t visible(size_t r) const { return std::min(columns, row + r + 1 - column); }
};

// What a row of queries has seen so far.
struct Running {
  float largest[kTile];
  float sum[kTile];
};

float scale_of(const AttentionShape& shape) { return 1.0F / std::sqrt(static_cast<float>(shape.size)); }

// Scores become e^(scale * score - largest so far), hidden ones 0; `shrink` is what earlier tiles' results are worth
// beside these.
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
    const size_t written = (visible + kLanes - 1) / kLanes * kLanes;
    if (written < place.columns) std::fill(row + written, row + place.columns, 0.0F);
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
    const size_t written = (visible + kLanes - 1) / kLanes * kLanes;
    if (written < place.columns) {
      std::fill(p + written, p + place.columns, 0.0F);
      std::fill(d + written, d + place.columns, 0.0F);
    }
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

Status forward_rows(const AttentionShape& shape, size_t row, const float* q, const float* k, const float* v, float* out,
                    float* log_sum, float* scores) {
  Running running;
  std::fill_n(running.largest, kTile, -std::numeric_limits<float>::infinity());
  std::fill_n(running.sum, kTile, 0.0F);
  float factor[kTile];
  const float scale = scale_of(shape);
  float* rows_out = out + row * shape.out_stride;
  for (size_t column = 0; column <= row; column += kTile) {
    const TilePlace at = tile_at(shape, row, column);
    RETURN_IF_ERROR(matmul({at.rows, at.columns, shape.size}, {q + row * shape.stride, shape.stride},
                           {k + at.column * shape.stride, shape.stride, true}, scores, kTile));
    softmax_tile(at, scale, scores, &running, factor);
    if (at.column > 0) scale_rows(at.rows, shape.size, shape.out_stride, factor, rows_out);
    RETURN_IF_ERROR(matmul({at.rows, shape.size, at.columns, at.column > 0}, {scores, kTile},
                           {v + at.column * shape.stride, shape.stride}, rows_out, shape.out_stride));
  }
  const size_t rows = std::min(kTile, shape.length - row);
  for (size_t r = 0; r < rows; ++r) {
    factor[r] = 1.0F / running.sum[r];
    log_sum[row + r] = running.largest[r] + static_cast<float>(std::log(static_cast<double>(running.sum[r])));
  }
  scale_rows(rows, shape.size, shape.out_stride, factor, rows_out);
  return Status::ok();
}

}  // namespace

size_t attention_scratch(const AttentionShape& shape) { return 2 * kTile * kTile + shape.length; }

Status attention_forward(const AttentionShape& shape, const float* q, const float* k, const float* v, float* out,
                         float* log_sum, float* scratch) {
  for (size_t head = 0; head < shape.group; ++head) {
    for (size_t row = 0; row < shape.length; row += kTile) {
      RETURN_IF_ERROR(forward_rows(shape, row, q + head * shape.size, k, v, out + head * shape.size,
                                   log_sum + head * shape.length, scratch));
    }
  }
  return Status::ok();
}

Status attention_gradient(const AttentionShape& shape, const float* q, const float* k, const float* v, const float* out,
                          const float* log_sum, const float* dout, float* dq, float* dk, float* dv, float* scratch) {
  float *scores = scratch, *dp = scratch + kTile * kTile, *dots = scratch + 2 * kTile * kTile;
  const Matrix p_transposed{scores, kTile, true}, ds_transposed{dp, kTile, true};
  const float scale = scale_of(shape);
  const size_t size = shape.size, stride = shape.stride;
  for (size_t head = 0; head < shape.group; ++head) {
    row_dots(shape.length, size, shape.out_stride, out + head * size, dout + head * size, dots);
    for (size_t row = 0; row < shape.length; row += kTile) {
      const Matrix q_rows{q + head * size + row * stride, stride};
      const Matrix dout_rows{dout + head * size + row * shape.out_stride, shape.out_stride};
      for (size_t column = 0; column <= row; column += kTile) {
        const TilePlace at = tile_at(shape, row, column);
        const Matrix keys{k + column * stride, stride}, keys_transposed{k + column * stride, stride, true};
        // These keys' sums begin with the first queries that see them: those of their own tile, of the first head.
        const bool more = head > 0 || row > column;
        RETURN_IF_ERROR(matmul({at.rows, at.columns, size}, q_rows, keys_transposed, scores, kTile));
        RETURN_IF_ERROR(matmul({at.rows, at.columns, size}, dout_rows, {v + column * stride, stride, true}, dp, kTile));
        gradient_tile(at, scale, log_sum + head * shape.length + row, dots + row, scores, dp);
        RETURN_IF_ERROR(
            matmul({at.columns, size, at.rows, more}, p_transposed, dout_rows, dv + column * stride, stride));
        RETURN_IF_ERROR(matmul({at.columns, size, at.rows, more}, ds_transposed, q_rows, dk + column * stride, stride));
        RETURN_IF_ERROR(matmul({at.rows, size, at.columns, column > 0}, {dp, kTile}, keys,
                               dq + head * size + row * stride, stride));
      }
    }
  }
  return Status::ok();
}

}  // namespace freshet::kernels
