// One pass over rows of bfloat16 that also sums their columns: an operation's backward pass with the gradient of its
// bias. The rows are cut into pieces; a block sums a piece of some columns, and sum_parts() adds the pieces. So the
// order of a sum depends on the shape alone. For .cu files.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sum_parts.h"

namespace freshet::cuda {

inline constexpr unsigned kPassThreads = 256;
inline constexpr unsigned kPassColumns = 8;  // of a thread: 16 bytes

struct ColumnPass {
  static constexpr size_t kPiecesMax = 512;

  size_t rows, columns, stride;    // stride: elements, a multiple of 8
  size_t pieces_max = kPiecesMax;  // at least 1

  unsigned piece() const {  // rows
    constexpr size_t kPieceMin = 32;
    return static_cast<unsigned>(std::max(kPieceMin, (rows + pieces_max - 1) / pieces_max));
  }
  unsigned pieces() const { return static_cast<unsigned>((rows + piece() - 1) / piece()); }
  // Threads side by side, a power of two.
  unsigned lanes() const {
    unsigned lanes = 1;
    while (lanes < 32 && lanes * kPassColumns < columns) lanes *= 2;
    return lanes;
  }
  size_t scratch() const { return pieces() * columns; }  // floats
};

// An operation is a struct of device functions; place = row * stride + column, on a border of 8 elements.
//   begin(column, columns): of the thread.
//   In load(place): what it reads there. Of several rows, before the first of them is computed, so that a store, which
//     may be to the same array, doesn't hold up the next load.
//   row(place, in, values): fills the eight values that are summed, and writes what it likes.
template <class Operation>
__global__ void __launch_bounds__(kPassThreads)
    column_pass_kernel(Operation operation, unsigned rows, unsigned columns, size_t stride, unsigned lanes,
                       unsigned piece, float* __restrict__ parts) {
  float* shared = dynamic_shared<float>();  // [groups][lanes * 8]
  const unsigned groups = kPassThreads / lanes, lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
  const unsigned first_column = blockIdx.x * lanes * kPassColumns, column = first_column + lane * kPassColumns;
  const unsigned begin = blockIdx.y * piece, end = begin + piece < rows ? begin + piece : rows;
  using In = typename Operation::In;
  constexpr unsigned kInFlight = sizeof(In) > 2 * sizeof(uint4) ? 2 : 4;
  float sums[kPassColumns] = {};
  if (column < columns) {
    operation.begin(column, columns);
    for (unsigned first = begin + group; first < end; first += groups * kInFlight) {
      In in[kInFlight];
#pragma unroll
      for (unsigned u = 0; u < kInFlight; ++u) {
        const unsigned row = first + u * groups;
        if (row < end) in[u] = operation.load(row * stride + column);
      }
#pragma unroll
      for (unsigned u = 0; u < kInFlight; ++u) {
        const unsigned row = first + u * groups;
        if (row >= end) continue;
        float values[kPassColumns];
        operation.row(row * stride + column, in[u], values);
#pragma unroll
        for (unsigned c = 0; c < kPassColumns; ++c) sums[c] += values[c];
      }
    }
  }
#pragma unroll
  for (unsigned c = 0; c < kPassColumns; ++c) shared[(group * lanes + lane) * kPassColumns + c] = sums[c];
  __syncthreads();
  for (unsigned c = threadIdx.x; c < lanes * kPassColumns; c += kPassThreads) {
    float sum = shared[c];
    for (unsigned g = 1; g < groups; ++g) sum += shared[g * lanes * kPassColumns + c];
    if (first_column + c < columns) parts[static_cast<size_t>(blockIdx.y) * columns + first_column + c] = sum;
  }
}

// sums[columns] is overwritten; `scratch`: ColumnPass::scratch() floats.
template <class Operation>
Status run_column_pass(const char* name, const ColumnPass& pass, const Operation& operation, float* sums,
                       float* scratch, CudaStream stream) {
  const auto columns = static_cast<unsigned>(pass.columns), lanes = pass.lanes();
  const unsigned strips = (columns + lanes * kPassColumns - 1) / (lanes * kPassColumns);
  RETURN_IF_ERROR(launch(name, column_pass_kernel<Operation>,
                         {{strips, pass.pieces()}, kPassThreads, kPassThreads * kPassColumns * sizeof(float)}, stream,
                         operation, static_cast<unsigned>(pass.rows), columns, pass.stride, lanes, pass.piece(),
                         scratch));
  return sum_parts(pass.pieces(), pass.columns, scratch, {sums}, stream);
}

}  // namespace freshet::cuda
