// A warp works on a row at a time, whose vectors it keeps in shared memory, filled up with zeros to tiles of 16 by 16:
// forward is X X^T below its diagonal, backward G X, where G holds the gradients of the pairs on both sides of it. With
// 26 vectors and 128 dimensions this is bound by memory; products of single numbers would be bound by shared memory.
#include "kernels/cuda/dot_interaction.h"

#include <algorithm>

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kWarpsMax = 8;
constexpr unsigned kRowsEach = 4;  // of a warp
constexpr unsigned kTile = 16;
constexpr unsigned kPad = 8;  // moves neighbouring rows to other banks
constexpr size_t kSharedMax = 227 * 1024;
constexpr size_t kSharedAimed = 72 * 1024;  // three blocks a multiprocessor

struct Sizes {
  unsigned rows, vectors, dim;
  unsigned tiles, dim_tiles;  // of 16 vectors; of 16 dimensions
  size_t x_stride, out_stride;
  unsigned pairs;
  unsigned x_width, g_width;  // elements of a row of X and of G in shared memory
  unsigned warp_elements;     // of shared memory

  __device__ unsigned out_at() const { return tiles * kTile * x_width; }
};

__device__ __forceinline__ unsigned pair_of(unsigned i, unsigned j) { return i * (i - 1) / 2 + j; }

// The row's vectors, by the whole warp.
template <unsigned kFew>
__device__ __forceinline__ void load_vectors(const Sizes& s, const Bfloat16* x, unsigned lane, Bfloat16* shared) {
  const unsigned parts = s.dim / kFew;
#pragma unroll 4
  for (unsigned i = lane; i < s.vectors * parts; i += kWarp) {
    const unsigned vector = i / parts, d = i % parts * kFew;
    if constexpr (kFew == 8) {
      *reinterpret_cast<uint4*>(shared + vector * s.x_width + d) =
          *reinterpret_cast<const uint4*>(x + vector * s.dim + d);
    } else {
      shared[vector * s.x_width + d] = x[vector * s.dim + d];
    }
  }
}

// A warp's shared memory, full of zeros.
__device__ __forceinline__ Bfloat16* own_shared(const Sizes& s, unsigned lane) {
  Bfloat16* shared = dynamic_shared<Bfloat16>() + threadIdx.x / kWarp * s.warp_elements;
  for (unsigned i = lane * 8; i < s.warp_elements; i += kWarp * 8) {
    *reinterpret_cast<uint4*>(shared + i) = make_uint4(0, 0, 0, 0);
  }
  __syncwarp();
  return shared;
}

__device__ __forceinline__ unsigned first_row(const Sizes&) {
  return (blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp) * kRowsEach;
}

template <unsigned kFew>
__global__ void __launch_bounds__(kWarpsMax* kWarp)
    forward_kernel(Sizes s, const Bfloat16* __restrict__ x, Bfloat16* __restrict__ out) {
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, first = first_row(s);
  Bfloat16* shared = own_shared(s, lane);
  Bfloat16* products = shared + s.out_at();
  // Where this lane's rows of 16 bytes lie in a tile, as a first and as a second factor.
  const Bfloat16* own_a = shared + (lane % 16) * s.x_width + lane / 16 * 8;
  const Bfloat16* own_b = shared + (lane % 8 + lane / 16 * 8) * s.x_width + lane / 8 % 2 * 8;
  for (unsigned r = first; r < first + kRowsEach && r < s.rows; ++r) {
    load_vectors<kFew>(s, x + r * s.x_stride, lane, shared);
    __syncwarp();
    for (unsigned m = 0; m < s.tiles; ++m) {
      for (unsigned n = 0; n <= m; ++n) {
        float sums[2][4] = {};
        for (unsigned k = 0; k < s.dim_tiles; ++k) {
          unsigned a[4], b[4];
          load_matrices(a, own_a + m * kTile * s.x_width + k * kTile);
          load_matrices(b, own_b + n * kTile * s.x_width + k * kTile);
          mma_16x8x16(sums[0], a, b[0], b[1]);
          mma_16x8x16(sums[1], a, b[2], b[3]);
        }
#pragma unroll
        for (unsigned e = 0; e < 8; ++e) {
          const unsigned i = m * kTile + g + e % 4 / 2 * 8, j = n * kTile + e / 4 * 8 + 2 * t + e % 2;
          if (j < i && i < s.vectors) products[pair_of(i, j)] = narrow(sums[e / 4][e % 4]);
        }
      }
    }
    __syncwarp();
    for (unsigned p = lane; p < s.pairs; p += kWarp) out[r * s.out_stride + p] = products[p];
    __syncwarp();
  }
}

template <unsigned kFew>
__global__ void __launch_bounds__(kWarpsMax* kWarp)
    backward_kernel(Sizes s, const Bfloat16* __restrict__ x, const Bfloat16* __restrict__ dout,
                    Bfloat16* __restrict__ dx) {
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, first = first_row(s);
  Bfloat16* shared = own_shared(s, lane);
  Bfloat16* pairs = shared + s.out_at();  // G
  const Bfloat16* own_a = pairs + (lane % 16) * s.g_width + lane / 16 * 8;
  const Bfloat16* own_b = shared + (lane % 16) * s.x_width + lane / 16 * 8;
  for (unsigned r = first; r < first + kRowsEach && r < s.rows; ++r) {
    load_vectors<kFew>(s, x + r * s.x_stride, lane, shared);
    for (unsigned i = 1; i < s.vectors; ++i) {
      for (unsigned j = lane; j < i; j += kWarp) {
        const Bfloat16 slope = dout[r * s.out_stride + pair_of(i, j)];
        pairs[i * s.g_width + j] = slope;
        pairs[j * s.g_width + i] = slope;
      }
    }
    __syncwarp();
    for (unsigned m = 0; m < s.tiles; ++m) {
      for (unsigned n = 0; n < s.dim_tiles; ++n) {
        float sums[2][4] = {};
        for (unsigned k = 0; k < s.tiles; ++k) {
          unsigned a[4], b[4];
          load_matrices(a, own_a + m * kTile * s.g_width + k * kTile);
          load_matrices_transposed(b, own_b + k * kTile * s.x_width + n * kTile);
          mma_16x8x16(sums[0], a, b[0], b[1]);
          mma_16x8x16(sums[1], a, b[2], b[3]);
        }
#pragma unroll
        for (unsigned e = 0; e < 8; e += 2) {
          const unsigned i = m * kTile + g + e % 4 / 2 * 8, d = n * kTile + e / 4 * 8 + 2 * t;
          if (i >= s.vectors) continue;
          Bfloat16* to = dx + r * s.x_stride + i * s.dim + d;
          const float low = sums[e / 4][e % 4], high = sums[e / 4][e % 4 + 1];
          if constexpr (kFew == 8) {
            if (d < s.dim) *reinterpret_cast<unsigned*>(to) = narrow_pair(low, high);
          } else {
            if (d < s.dim) to[0] = narrow(low);
            if (d + 1 < s.dim) to[1] = narrow(high);
          }
        }
      }
    }
    __syncwarp();
  }
}

struct Launch {
  Sizes sizes;
  LaunchShape shape;
  bool by_eights;
};

Result<Launch> launch_for(const DotShape& shape, bool is_backward, const void* x, const void* dx) {
  Launch launch;
  Sizes& s = launch.sizes;
  s.rows = static_cast<unsigned>(shape.rows);
  s.vectors = static_cast<unsigned>(shape.vectors);
  s.dim = static_cast<unsigned>(shape.dim);
  s.tiles = (s.vectors + kTile - 1) / kTile;
  s.dim_tiles = (s.dim + kTile - 1) / kTile;
  s.x_stride = shape.x_stride;
  s.out_stride = shape.out_stride;
  s.pairs = static_cast<unsigned>(shape.pairs());
  s.x_width = s.dim_tiles * kTile + kPad;
  s.g_width = s.tiles * kTile + kPad;
  const unsigned beside = is_backward ? s.tiles * kTile * s.g_width : (s.pairs + 7) / 8 * 8;
  s.warp_elements = s.tiles * kTile * s.x_width + beside;
  const size_t bytes = s.warp_elements * sizeof(Bfloat16);
  if (shape.vectors > kernels::kInteractionVectorsMax || bytes > kSharedMax) {
    return invalid_argument("dot interaction of " + std::to_string(shape.vectors) + " vectors of width " +
                            std::to_string(shape.dim) + ": it takes at most " +
                            std::to_string(kernels::kInteractionVectorsMax) + ", and " + std::to_string(kSharedMax) +
                            " bytes of a row");
  }
  const auto warps = static_cast<unsigned>(std::clamp<size_t>(kSharedAimed / bytes, 1, kWarpsMax));
  const unsigned rows_a_block = warps * kRowsEach;
  launch.shape = {(s.rows + rows_a_block - 1) / rows_a_block, warps * kWarp, warps * bytes};
  const uintptr_t borders = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(dx);
  launch.by_eights = borders % 16 == 0 && (shape.x_stride | shape.dim) % 8 == 0;
  return launch;
}

}  // namespace

Status check_dot_interaction(const DotShape& shape) {
  if (shape.vectors >= 2) RETURN_IF_ERROR(launch_for(shape, false, nullptr, nullptr).status());
  return shape.vectors == 0 ? Status::ok() : launch_for(shape, true, nullptr, nullptr).status();
}

Status dot_interaction_forward(const DotShape& shape, const Bfloat16* x, Bfloat16* out, CudaStream stream) {
  if (shape.vectors < 2) return Status::ok();
  ASSIGN_OR_RETURN(const Launch how, launch_for(shape, false, x, nullptr));
  return launch("dot_interaction_forward", how.by_eights ? forward_kernel<8> : forward_kernel<1>, how.shape, stream,
                how.sizes, x, out);
}

Status dot_interaction_backward(const DotShape& shape, const Bfloat16* x, const Bfloat16* dout, Bfloat16* dx,
                                CudaStream stream) {
  if (shape.vectors == 0) return Status::ok();
  ASSIGN_OR_RETURN(const Launch how, launch_for(shape, true, x, dx));
  return launch("dot_interaction_backward", how.by_eights ? backward_kernel<8> : backward_kernel<1>, how.shape, stream,
                how.sizes, x, dout, dx);
}

}  // namespace freshet::cuda
