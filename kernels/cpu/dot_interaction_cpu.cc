#include "kernels/dot_interaction.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/multiversion.h"
#include "kernels/cpu/vector.h"

namespace freshet::kernels {
namespace {

constexpr size_t kTiles = kInteractionVectorsMax / kLanes;

}  // namespace

// Sixteen vectors at a time are turned, so that a lane is a partner and no sum crosses lanes: a row's dot products with
// sixteen partners are `dim` products of a number and a vector, added in the order of the dimensions.
FRESHET_MULTIVERSION void dot_interaction_forward(const DotShape& shape, const float* x, float* out) {
  CHECK(shape.vectors <= kInteractionVectorsMax);
  if (shape.vectors < 2) return;
  const size_t vectors = shape.vectors, dim = shape.dim, tiles = (vectors - 1 + kLanes - 1) / kLanes;
  F16 products[kInteractionVectorsMax][kTiles];
  F16 turned[kTiles][kLanes];
  float packed[kInteractionVectorsMax * (kInteractionVectorsMax - 1) / 2 + kLanes];
  for (size_t r = 0; r < shape.rows; ++r) {
    const float* row = x + r * shape.x_stride;
    for (size_t first = 0; first < dim; first += kLanes) {
      const size_t dims = std::min(kLanes, dim - first);
      for (size_t t = 0; t < tiles; ++t) {
        for (size_t i = 0; i < kLanes; ++i) {
          const size_t vector = t * kLanes + i;
          turned[t][i] = vector < vectors ? load_up_to(row + vector * dim + first, dims) : F16{};
        }
        transpose(turned[t]);
      }
      for (size_t i = 1; i < vectors; ++i) {
        const float* own = row + i * dim + first;
        for (size_t t = 0; t * kLanes < i; ++t) {
          F16 sum = first == 0 ? F16{} : products[i][t];
          if (dims == kLanes) {
            for (size_t d = 0; d < kLanes; ++d) sum += own[d] * turned[t][d];
          } else {
            for (size_t d = 0; d < dims; ++d) sum += own[d] * turned[t][d];
          }
          products[i][t] = sum;
        }
      }
    }
    // Each store's superfluous lanes are overwritten by the next.
    for (size_t i = 1; i < vectors; ++i) {
      for (size_t t = 0; t * kLanes < i; ++t) store(products[i][t], packed + i * (i - 1) / 2 + t * kLanes);
    }
    std::memcpy(out + r * shape.out_stride, packed, shape.pairs() * sizeof(float));
  }
}

FRESHET_MULTIVERSION void dot_interaction_gradient(const DotShape& shape, const float* x, const float* dout,
                                                   float* dx) {
  CHECK(shape.vectors <= kInteractionVectorsMax);
  const size_t vectors = shape.vectors, dim = shape.dim;
  for (size_t r = 0; r < shape.rows; ++r) {
    const float* row = x + r * shape.x_stride;
    const float* pairs = dout + r * shape.out_stride;
    float* to = dx + r * shape.x_stride;
    for (size_t first = 0; first < dim; first += kLanes) {
      const size_t dims = std::min(kLanes, dim - first);
      for (size_t i = 0; i < vectors; ++i) {
        F16 sum{};
        if (dims == kLanes) {
          for (size_t j = 0; j < i; ++j) sum += pairs[i * (i - 1) / 2 + j] * load(row + j * dim + first);
          for (size_t j = i + 1; j < vectors; ++j) sum += pairs[j * (j - 1) / 2 + i] * load(row + j * dim + first);
        } else {
          for (size_t j = 0; j < vectors; ++j) {
            if (j == i) continue;
            const size_t high = std::max(i, j), low = std::min(i, j);
            sum += pairs[high * (high - 1) / 2 + low] * load_up_to(row + j * dim + first, dims);
          }
        }
        store_up_to(sum, to + i * dim + first, dims);
      }
    }
  }
}

}  // namespace freshet::kernels
