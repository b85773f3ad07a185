// Matrix products cut into tiles and spread over a pool's threads. A tile's shape depends on its product's only and
// each tile is one call on one thread, so the bits do not depend on the number of threads. Several products that do not
// need each other go in one call, so that no thread waits in between.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/matmul.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

// An operand: row-major, rows `stride` elements apart. With `h` the product is made in bfloat16 (both operands have one
// then), else in float.
struct Factor {
  const float* f = nullptr;
  const kernels::Bfloat16* h = nullptr;
  size_t stride = 0;
  bool transposed = false;  // stored as [columns][rows]
};

// Rows and columns of a product's result.
struct TileRange {
  size_t row = 0, rows = 0, column = 0, columns = 0;
};

struct Product {
  kernels::MatmulShape shape;
  Factor a, b;
  float* c = nullptr;
  size_t c_stride = 0;
  std::function<void(const TileRange&)> then;  // with a tile that was just computed, on its thread; may be empty
};

// One product as one call.
Status multiply(const kernels::MatmulShape& shape, const Factor& a, const Factor& b, float* c, size_t c_stride);

// `side`: what may run beside them and what they do not need.
Status run_products(const std::vector<Product>& products, const std::vector<std::function<void()>>& side,
                    ThreadPool* pool);

// job(begin, end) for the rows [0, rows) in pieces of at most `piece`.
Status run_rows(size_t rows, size_t piece, const std::function<void(size_t, size_t)>& job, ThreadPool* pool);

}  // namespace freshet::worker
