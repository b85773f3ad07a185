// Memory-bound. A block works on one feature, so its description is read once; a group of lanes holds a row of a table,
// and has kRowsEach of them on their way at a time.
#include "kernels/cuda/embedding_bag.h"

#include <algorithm>

#include "kernels/cuda/few.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kRowsEach = 4;

// Which rows of a micro-batch a thread works on, and which part of them.
struct Part {
  unsigned first_row;
  unsigned lane, lanes;
};

__device__ __forceinline__ Part part_of(unsigned lanes) {
  const unsigned groups = blockDim.x / lanes;
  return {(blockIdx.x * groups + threadIdx.x / lanes) * kRowsEach, threadIdx.x % lanes, lanes};
}

template <unsigned kFew, class Out>
__device__ __forceinline__ void look_up(const EmbeddingFeature& feature, const int32_t* words, unsigned rows,
                                        const Part& part, Out* out, size_t stride) {
  int32_t codes[kRowsEach];
#pragma unroll
  for (unsigned i = 0; i < kRowsEach; ++i) {
    codes[i] = part.first_row + i < rows ? words[feature.codes + part.first_row + i] : -1;
  }
  for (unsigned d = part.lane * kFew; d < feature.dim; d += part.lanes * kFew) {
    float values[kRowsEach][kFew] = {};
#pragma unroll
    for (unsigned i = 0; i < kRowsEach; ++i) {
      if (codes[i] >= 0) load_few(feature.table + static_cast<size_t>(codes[i]) * feature.dim + d, values[i]);
    }
#pragma unroll
    for (unsigned i = 0; i < kRowsEach; ++i) {
      if (part.first_row + i < rows) store_few(values[i], out + (part.first_row + i) * stride + feature.column + d);
    }
  }
}

template <unsigned kFew, class Out>
__device__ __forceinline__ void average(const EmbeddingFeature& feature, const int32_t* words, unsigned rows,
                                        const Part& part, Out* out, size_t stride) {
  const int32_t* codes = words + feature.codes;
  const int32_t* offsets = words + feature.offsets;
  for (unsigned r = part.first_row; r < part.first_row + kRowsEach && r < rows; ++r) {
    const int32_t begin = offsets[r], end = offsets[r + 1];
    const float share = end - begin < 2 ? 1.0F : 1.0F / static_cast<float>(end - begin);
    for (unsigned d = part.lane * kFew; d < feature.dim; d += part.lanes * kFew) {
      float sums[kFew] = {};
#pragma unroll 4
      for (int32_t i = begin; i < end; ++i) {
        float values[kFew];
        load_few(feature.table + static_cast<size_t>(codes[i]) * feature.dim + d, values);
#pragma unroll
        for (unsigned c = 0; c < kFew; ++c) sums[c] += values[c];
      }
#pragma unroll
      for (unsigned c = 0; c < kFew; ++c) sums[c] *= share;
      store_few(sums, out + r * stride + feature.column + d);
    }
  }
}

template <unsigned kFew, class Out>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const EmbeddingFeature* __restrict__ features, const int32_t* __restrict__ words, unsigned rows,
                   unsigned lanes, Out* __restrict__ out, size_t stride) {
  const EmbeddingFeature feature = features[blockIdx.y];
  const Part part = part_of(lanes);
  if (feature.offsets == kOneCodeEach) {
    look_up<kFew>(feature, words, rows, part, out, stride);
  } else {
    average<kFew>(feature, words, rows, part, out, stride);
  }
}

// A thread for each example; what its feature has room for beyond its codes, all threads fill together.
__global__ void __launch_bounds__(kThreads)
    list_kernel(const EmbeddingFeature* __restrict__ features, const int32_t* __restrict__ words,
                const uint32_t* __restrict__ slot, unsigned rows, size_t lookups, uint32_t no_row,
                EmbeddingLookups listed) {
  const EmbeddingFeature feature = features[blockIdx.y];
  const uint32_t batch = slot == nullptr ? 0 : *slot;
  const unsigned r = blockIdx.x * blockDim.x + threadIdx.x;
  const size_t base = batch * lookups + feature.first_lookup;
  const uint32_t place = (batch * rows + r) << 8 | blockIdx.y;
  const int32_t* codes = words + feature.codes;
  if (feature.offsets == kOneCodeEach) {
    if (r >= rows) return;
    listed.rows[base + r] = codes[r] < 0 ? no_row : feature.first_row + static_cast<uint32_t>(codes[r]);
    listed.places[base + r] = place;
    return;
  }
  const int32_t* offsets = words + feature.offsets;
  if (r < rows) {
    for (int32_t i = offsets[r]; i < offsets[r + 1]; ++i) {
      listed.rows[base + static_cast<size_t>(i)] = feature.first_row + static_cast<uint32_t>(codes[i]);
      listed.places[base + static_cast<size_t>(i)] = place;
    }
  }
  for (size_t i = static_cast<size_t>(offsets[rows]) + r; i < feature.codes_max;
       i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    listed.rows[base + i] = no_row;
    listed.places[base + i] = blockIdx.y;
  }
}

// Of micro-batch *slot, among those of a part.
__device__ __forceinline__ size_t first_example(const uint32_t* slot, uint32_t first_slot, unsigned rows) {
  return static_cast<size_t>(slot == nullptr ? 0 : *slot - first_slot) * rows;
}

template <unsigned kFew>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const EmbeddingFeature* __restrict__ features, const uint32_t* __restrict__ slot, unsigned rows,
                  unsigned lanes, const EmbeddingPart* __restrict__ parts, uint32_t first_slot,
                  Bfloat16* __restrict__ out, size_t stride) {
  const unsigned dim = features[blockIdx.y].dim, column = features[blockIdx.y].column;
  const EmbeddingPart from = parts[blockIdx.y];
  const Part part = part_of(lanes);
  const size_t first = first_example(slot, first_slot, rows);
  for (unsigned d = part.lane * kFew; d < dim; d += part.lanes * kFew) {
    float values[kRowsEach][kFew];
#pragma unroll
    for (unsigned i = 0; i < kRowsEach; ++i) {
      const unsigned r = part.first_row + i;
      if (r < rows) load_few(from.values + (first + r) * from.stride + d, values[i]);
    }
#pragma unroll
    for (unsigned i = 0; i < kRowsEach; ++i) {
      const unsigned r = part.first_row + i;
      if (r < rows) store_few(values[i], out + r * stride + column + d);
    }
  }
}

template <unsigned kFew>
__global__ void __launch_bounds__(kThreads)
    keep_kernel(const EmbeddingFeature* __restrict__ features, const int32_t* __restrict__ words,
                const uint32_t* __restrict__ slot, unsigned rows, unsigned lanes, const Bfloat16* __restrict__ a,
                const Bfloat16* __restrict__ b, size_t stride, const EmbeddingPart* __restrict__ parts,
                uint32_t first_slot) {
  const EmbeddingFeature feature = features[blockIdx.y];
  const EmbeddingPart to = parts[blockIdx.y];
  const Part part = part_of(lanes);
  const size_t first = first_example(slot, first_slot, rows);
#pragma unroll
  for (unsigned i = 0; i < kRowsEach; ++i) {
    const unsigned r = part.first_row + i;
    if (r >= rows) return;
    float share = 1;
    if (feature.offsets != kOneCodeEach) {
      const int32_t codes = words[feature.offsets + r + 1] - words[feature.offsets + r];
      if (codes > 1) share = 1.0F / static_cast<float>(codes);
    }
    for (unsigned d = part.lane * kFew; d < feature.dim; d += part.lanes * kFew) {
      float sums[kFew], more[kFew];
      load_few(a + r * stride + feature.column + d, sums);
      if (b != nullptr) {
        load_few(b + r * stride + feature.column + d, more);
#pragma unroll
        for (unsigned c = 0; c < kFew; ++c) sums[c] += more[c];
      }
#pragma unroll
      for (unsigned c = 0; c < kFew; ++c) sums[c] *= share;
      store_few(sums, to.values + (first + r) * to.stride + d);
    }
  }
}

// Lanes for a row of a table, a power of two.
unsigned lanes_for(const EmbeddingShape& shape, unsigned few) {
  unsigned lanes = 4;
  while (lanes < 32 && lanes * few < shape.dim_max) lanes *= 2;
  return lanes;
}

dim3 grid_for(const EmbeddingShape& shape, size_t rows_a_block) {
  return {static_cast<unsigned>((shape.rows + rows_a_block - 1) / rows_a_block), static_cast<unsigned>(shape.features)};
}

template <class Out>
Status forward(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words, Out* out,
               size_t stride, CudaStream stream) {
  RETURN_IF_ERROR(check_embedding_bags(shape));
  const unsigned few = shape.by_fours ? 4 : 1, lanes = lanes_for(shape, few);
  return launch("embedding_bag_forward", few == 4 ? forward_kernel<4, Out> : forward_kernel<1, Out>,
                {grid_for(shape, kThreads / lanes * kRowsEach), kThreads}, stream, features, words,
                static_cast<unsigned>(shape.rows), lanes, out, stride);
}

}  // namespace

Status check_embedding_bags(const EmbeddingShape& shape) {
  if (shape.features > kEmbeddingFeaturesMax || shape.rows * shape.slots > kEmbeddingExamplesMax ||
      shape.table_rows >= UINT32_MAX || shape.dim_max > kEmbeddingDimMax) {
    return invalid_argument("embedding tables: more than 256 features, 2^24 examples a step, 2^32 rows or a width of " +
                            std::to_string(kEmbeddingDimMax));
  }
  return Status::ok();
}

Status embedding_bag_forward(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                             float* out, size_t stride, CudaStream stream) {
  return forward(shape, features, words, out, stride, stream);
}

Status embedding_bag_forward(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                             Bfloat16* out, size_t stride, CudaStream stream) {
  return forward(shape, features, words, out, stride, stream);
}

Status embedding_bag_list(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                          const uint32_t* slot, const EmbeddingLookups& lookups, CudaStream stream) {
  RETURN_IF_ERROR(check_embedding_bags(shape));
  return launch("embedding_bag_list", list_kernel, {grid_for(shape, kThreads), kThreads}, stream, features, words, slot,
                static_cast<unsigned>(shape.rows), shape.lookups, static_cast<uint32_t>(shape.table_rows), lookups);
}

Status embedding_bag_keep(const EmbeddingShape& shape, const EmbeddingFeature* features, const int32_t* words,
                          const uint32_t* slot, const Bfloat16* a, const Bfloat16* b, size_t stride,
                          const EmbeddingPart* parts, uint32_t first_slot, CudaStream stream) {
  RETURN_IF_ERROR(check_embedding_bags(shape));
  const unsigned few = shape.by_fours ? 4 : 1, lanes = lanes_for(shape, few);
  return launch("embedding_bag_keep", few == 4 ? keep_kernel<4> : keep_kernel<1>,
                {grid_for(shape, kThreads / lanes * kRowsEach), kThreads}, stream, features, words, slot,
                static_cast<unsigned>(shape.rows), lanes, a, b, stride, parts, first_slot);
}

Status embedding_bag_gather(const EmbeddingShape& shape, const EmbeddingFeature* features, const uint32_t* slot,
                            const EmbeddingPart* parts, uint32_t first_slot, Bfloat16* out, size_t stride,
                            CudaStream stream) {
  RETURN_IF_ERROR(check_embedding_bags(shape));
  const unsigned few = shape.by_fours ? 4 : 1, lanes = lanes_for(shape, few);
  return launch("embedding_bag_gather", few == 4 ? gather_kernel<4> : gather_kernel<1>,
                {grid_for(shape, kThreads / lanes * kRowsEach), kThreads}, stream, features, slot,
                static_cast<unsigned>(shape.rows), lanes, parts, first_slot, out, stride);
}

}  // namespace freshet::cuda
