#include "worker/model/products.h"

#include <algorithm>

namespace freshet::worker {
namespace {

size_t pieces_of(size_t count, size_t piece) { return (count + piece - 1) / piece; }

Factor shifted(Factor factor, size_t elements) {
  factor.f += elements;
  if (factor.h != nullptr) factor.h += elements;
  return factor;
}

Factor from_row(const Factor& factor, size_t row) {
  return shifted(factor, factor.transposed ? row : row * factor.stride);
}

Factor from_column(const Factor& factor, size_t column) {
  return shifted(factor, factor.transposed ? column * factor.stride : column);
}

}  // namespace

Status multiply(const kernels::MatmulShape& shape, const Factor& a, const Factor& b, float* c, size_t c_stride) {
  if (a.h != nullptr) {
    return kernels::matmul(shape, kernels::Matrix16{a.h, a.stride, a.transposed},
                           kernels::Matrix16{b.h, b.stride, b.transposed}, c, c_stride);
  }
  return kernels::matmul(shape, kernels::Matrix{a.f, a.stride, a.transposed},
                         kernels::Matrix{b.f, b.stride, b.transposed}, c, c_stride);
}

namespace {

// A transposed right operand is copied into the library's order, which pays off over many columns. A product that has
// the pool for itself is cut into four tiles at least.
TileRange tile_shape(const kernels::MatmulShape& shape, bool b_transposed, bool alone) {
  auto tiles = [&shape](const TileRange& t) { return pieces_of(shape.m, t.rows) * pieces_of(shape.n, t.columns); };
  TileRange tile{0, std::min<size_t>(shape.m, 256), 0, std::min<size_t>(shape.n, b_transposed ? 768 : 384)};
  if (!alone) return tile;
  if (tiles(tile) < 4) tile.columns = std::min<size_t>(shape.n, 192);
  while (tiles(tile) < 4 && tile.rows >= 64) tile.rows /= 2;
  return tile;
}

Status run_tile(const Product& product, const TileRange& shape, size_t index) {
  const size_t across = pieces_of(product.shape.n, shape.columns);
  TileRange tile;
  tile.row = index / across * shape.rows;
  tile.rows = std::min(shape.rows, product.shape.m - tile.row);
  tile.column = index % across * shape.columns;
  tile.columns = std::min(shape.columns, product.shape.n - tile.column);
  RETURN_IF_ERROR(multiply({tile.rows, tile.columns, product.shape.k, product.shape.accumulate},
                           from_row(product.a, tile.row), from_column(product.b, tile.column),
                           product.c + tile.row * product.c_stride + tile.column, product.c_stride));
  if (product.then) product.then(tile);
  return Status::ok();
}

}  // namespace

Status run_products(const std::vector<Product>& products, const std::vector<std::function<void()>>& side,
                    ThreadPool* pool) {
  std::vector<TileRange> shapes;
  std::vector<size_t> first;  // of the tiles of each product, among all
  size_t tiles = 0;
  for (const auto& product : products) {
    const TileRange tile = tile_shape(product.shape, product.b.transposed, products.size() == 1);
    shapes.push_back(tile);
    first.push_back(tiles);
    tiles += pieces_of(product.shape.m, tile.rows) * pieces_of(product.shape.n, tile.columns);
  }
  return pool->run(tiles + side.size(), [&](size_t index, unsigned) {
    if (index >= tiles) {
      side[index - tiles]();
      return Status::ok();
    }
    size_t p = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), index) - first.begin()) - 1;
    return run_tile(products[p], shapes[p], index - first[p]);
  });
}

Status run_rows(size_t rows, size_t piece, const std::function<void(size_t, size_t)>& job, ThreadPool* pool) {
  return pool->run(pieces_of(rows, piece), [&](size_t index, unsigned) {
    job(index * piece, std::min(rows, (index + 1) * piece));
    return Status::ok();
  });
}

}  // namespace freshet::worker
