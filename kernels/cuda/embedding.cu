// Memory-bound. Bytes for each element: forward 4, and those of the positions from the cache; backward 2, 8 for each
// element of a table's row that is met, and 4 a row of 32 for frequent tokens; position_backward 2.
//
// Backward: a thread has eight columns of one piece, which is at most kPiece rows of one token, and has four rows in
// flight. A token of one piece is added to the table at once; the sums of the other pieces go to memory and are added
// up by a second kernel.
#include "kernels/cuda/embedding.h"

#include <string>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kVector = 8;  // elements of a 16-byte access
constexpr unsigned kThreads = 256;
constexpr unsigned kInFlight = 2;  // vectors of a thread in the forward kernel
constexpr unsigned kRowsInFlight = 4;
constexpr size_t kPiece = 32;     // rows
constexpr unsigned kRunning = 8;  // running sums of a column over a token's pieces
constexpr unsigned kQuad = 4;     // floats of a 16-byte access

// A token of more than one piece has at least kPiece + 1 rows, and fewer than two pieces for each kPiece of them.
size_t long_tokens_max(size_t rows) { return rows / (kPiece + 1); }
size_t slots_max(size_t rows) { return 2 * rows / kPiece; }

// Where the parts of `runs` lie.
template <class Int>
struct Runs {
  Int* pieces;        // [1]
  Int* long_tokens;   // [1]
  Int* order;         // [rows]: the permutation
  Int* piece_begin;   // [pieces + 1]: in `order`
  Int* piece_target;  // [pieces]: the token, or -1 - the slot of the sum in scratch
  Int* long_token;    // [long_tokens]
  Int* long_begin;    // [long_tokens + 1]: its slots
};

template <class Int>
Runs<Int> runs_at(Int* runs, size_t rows) {
  Runs<Int> at{};
  at.pieces = runs;
  at.long_tokens = runs + 1;
  at.order = runs + 2;
  at.piece_begin = at.order + rows;
  at.piece_target = at.piece_begin + rows + 1;
  at.long_token = at.piece_target + rows;
  at.long_begin = at.long_token + long_tokens_max(rows);
  return at;
}

__global__ void __launch_bounds__(kThreads)
    forward_kernel(unsigned vectors, unsigned row_vectors, unsigned length, const int32_t* __restrict__ tokens,
                   const uint4* __restrict__ table, const uint4* __restrict__ positions, uint4* __restrict__ out) {
  const unsigned first = blockIdx.x * kThreads * kInFlight + threadIdx.x;
  unsigned words_at[kInFlight];
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    const unsigned at = first + u * kThreads;
    words_at[u] = static_cast<unsigned>(tokens[min(at, vectors - 1) / row_vectors]);
  }
  uint4 words[kInFlight], places[kInFlight];
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    const unsigned at = first + u * kThreads, row = at / row_vectors, column = at % row_vectors;
    if (at >= vectors) continue;
    words[u] = table[size_t{words_at[u]} * row_vectors + column];
    if (positions != nullptr) places[u] = positions[size_t{row % length} * row_vectors + column];
  }
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    const unsigned at = first + u * kThreads;
    if (at >= vectors) continue;
    if (positions != nullptr) {
      float word[kVector], place[kVector];
      widen8(words[u], word);
      widen8(places[u], place);
#pragma unroll
      for (unsigned i = 0; i < kVector; ++i) word[i] += place[i];
      words[u] = narrow8(word);
    }
    out[at] = words[u];
  }
}

__device__ __forceinline__ void add(const float4& more, float4* sum) {
  sum->x += more.x;
  sum->y += more.y;
  sum->z += more.z;
  sum->w += more.w;
}

// sums += the rows of dout that row(i) names, first <= i < end, in their order.
template <class RowOf>
__device__ __forceinline__ void add_rows(unsigned first, unsigned end, unsigned row_vectors, unsigned column,
                                         const uint4* __restrict__ dout, RowOf row_of, float (&sums)[kVector]) {
  for (unsigned i = first; i < end; i += kRowsInFlight) {
    size_t rows[kRowsInFlight];
#pragma unroll
    for (unsigned u = 0; u < kRowsInFlight; ++u) rows[u] = row_of(min(i + u, end - 1));
    uint4 in[kRowsInFlight];
#pragma unroll
    for (unsigned u = 0; u < kRowsInFlight; ++u) {
      in[u] = i + u < end ? dout[rows[u] * row_vectors + column] : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (unsigned u = 0; u < kRowsInFlight; ++u) {
      float values[kVector];
      widen8(in[u], values);
#pragma unroll
      for (unsigned j = 0; j < kVector; ++j) sums[j] += values[j];
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    pieces_kernel(Runs<const int32_t> runs, unsigned row_vectors, const uint4* __restrict__ dout, float* dtable,
                  float* scratch) {
  const unsigned at = blockIdx.x * kThreads + threadIdx.x, piece = at / row_vectors, column = at % row_vectors;
  if (piece >= static_cast<unsigned>(*runs.pieces)) return;
  const int target = runs.piece_target[piece];
  const size_t row = static_cast<size_t>(target >= 0 ? target : -1 - target);
  float4* to = reinterpret_cast<float4*>((target >= 0 ? dtable : scratch) + (row * row_vectors + column) * kVector);
  float4 low = make_float4(0, 0, 0, 0), high = low;
  if (target >= 0) {
    low = to[0];
    high = to[1];
  }
  float sums[kVector] = {};
  add_rows(
      static_cast<unsigned>(runs.piece_begin[piece]), static_cast<unsigned>(runs.piece_begin[piece + 1]), row_vectors,
      column, dout, [&](unsigned i) { return static_cast<size_t>(runs.order[i]); }, sums);
  add(make_float4(sums[0], sums[1], sums[2], sums[3]), &low);
  add(make_float4(sums[4], sums[5], sums[6], sums[7]), &high);
  to[0] = low;
  to[1] = high;
}

// Blocks (x: token of several pieces, y: 128 columns) of kWarp threads a running sum.
__global__ void __launch_bounds__(kWarp* kRunning)
    long_tokens_kernel(Runs<const int32_t> runs, unsigned row_quads, const float4* __restrict__ scratch,
                       float4* dtable) {
  __shared__ float4 running[kRunning][kWarp];
  if (blockIdx.x >= static_cast<unsigned>(*runs.long_tokens)) return;
  const unsigned column = blockIdx.y * kWarp + threadIdx.x;
  const unsigned first = static_cast<unsigned>(runs.long_begin[blockIdx.x]);
  const unsigned end = static_cast<unsigned>(runs.long_begin[blockIdx.x + 1]);
  float4 sum = make_float4(0, 0, 0, 0);
  if (column < row_quads) {
#pragma unroll 4
    for (unsigned slot = first + threadIdx.y; slot < end; slot += kRunning) {
      add(scratch[size_t{slot} * row_quads + column], &sum);
    }
  }
  running[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= row_quads) return;
  for (unsigned i = 1; i < kRunning; ++i) add(running[i][threadIdx.x], &sum);
  add(sum, dtable + static_cast<size_t>(runs.long_token[blockIdx.x]) * row_quads + column);
}

__global__ void __launch_bounds__(kThreads)
    positions_kernel(unsigned rows, unsigned row_vectors, unsigned length, const uint4* __restrict__ dout,
                     float* __restrict__ dpositions) {
  const unsigned at = blockIdx.x * kThreads + threadIdx.x, position = at / row_vectors, column = at % row_vectors;
  if (position >= length) return;
  const unsigned sequences = position < rows ? (rows - position + length - 1) / length : 0;
  float sums[kVector] = {};
  add_rows(0, sequences, row_vectors, column, dout, [&](unsigned i) { return size_t{i} * length + position; }, sums);
  float4* to = reinterpret_cast<float4*>(dpositions + size_t{at} * kVector);
  to[0] = make_float4(sums[0], sums[1], sums[2], sums[3]);
  to[1] = make_float4(sums[4], sums[5], sums[6], sums[7]);
}

Status check(size_t rows, size_t width) {
  if (width > 0 && width % kVector == 0 && rows <= INT32_MAX && rows * (width / kVector) <= INT32_MAX) {
    return Status::ok();
  }
  return invalid_argument("an embedding's rows are a multiple of 8 wide, and fewer than 2^34 elements; not " +
                          std::to_string(rows) + " of " + std::to_string(width));
}

unsigned blocks_for(size_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

Status embedding_forward(size_t rows, size_t width, size_t length, const int32_t* tokens, const Bfloat16* table,
                         const Bfloat16* positions, Bfloat16* out, CudaStream stream) {
  RETURN_IF_ERROR(check(rows, width));
  const size_t vectors = rows * (width / kVector);
  return launch("embedding_forward", forward_kernel, {blocks_for((vectors + kInFlight - 1) / kInFlight), kThreads},
                stream, static_cast<unsigned>(vectors), static_cast<unsigned>(width / kVector),
                static_cast<unsigned>(length), tokens, reinterpret_cast<const uint4*>(table),
                reinterpret_cast<const uint4*>(positions), reinterpret_cast<uint4*>(out));
}

size_t token_runs_size(size_t rows) { return 3 * rows + 2 * long_tokens_max(rows) + 4; }

void token_runs(std::span<const int32_t> tokens, size_t vocabulary, std::span<int32_t> runs) {
  CHECK(runs.size() == token_runs_size(tokens.size()) && tokens.size() <= INT32_MAX);
  const Runs<int32_t> at = runs_at(runs.data(), tokens.size());
  // A counting sort: where each token's rows begin.
  std::vector<int32_t> begin(vocabulary + 1);
  for (int32_t token : tokens) {
    CHECK(token >= 0 && static_cast<size_t>(token) < vocabulary);
    ++begin[static_cast<size_t>(token) + 1];
  }
  for (size_t token = 0; token < vocabulary; ++token) begin[token + 1] += begin[token];
  int32_t pieces = 0, slots = 0, long_tokens = 0;
  constexpr auto kRows = static_cast<int32_t>(kPiece);
  for (size_t token = 0; token < vocabulary; ++token) {
    const bool is_long = begin[token + 1] - begin[token] > kRows;
    if (is_long) {
      at.long_token[long_tokens] = static_cast<int32_t>(token);
      at.long_begin[long_tokens++] = slots;
    }
    for (int32_t from = begin[token]; from < begin[token + 1]; from += kRows) {
      at.piece_begin[pieces] = from;
      at.piece_target[pieces++] = is_long ? -1 - slots++ : static_cast<int32_t>(token);
    }
  }
  at.piece_begin[pieces] = static_cast<int32_t>(tokens.size());
  at.long_begin[long_tokens] = slots;
  *at.pieces = pieces;
  *at.long_tokens = long_tokens;
  for (size_t row = 0; row < tokens.size(); ++row) {
    at.order[begin[static_cast<size_t>(tokens[row])]++] = static_cast<int32_t>(row);
  }
}

size_t embedding_backward_scratch(size_t rows, size_t width) { return slots_max(rows) * width; }

Status embedding_backward(size_t rows, size_t width, const int32_t* runs, const Bfloat16* dout, float* dtable,
                          float* scratch, CudaStream stream) {
  RETURN_IF_ERROR(check(rows, width));
  const Runs<const int32_t> at = runs_at(runs, rows);
  RETURN_IF_ERROR(launch("embedding_backward", pieces_kernel, {blocks_for(rows * (width / kVector)), kThreads}, stream,
                         at, static_cast<unsigned>(width / kVector), reinterpret_cast<const uint4*>(dout), dtable,
                         scratch));
  const auto tokens = static_cast<unsigned>(long_tokens_max(rows));
  const auto columns = static_cast<unsigned>((width / kQuad + kWarp - 1) / kWarp);
  return launch("embedding_backward (frequent tokens)", long_tokens_kernel, {{tokens, columns}, {kWarp, kRunning}},
                stream, at, static_cast<unsigned>(width / kQuad), reinterpret_cast<const float4*>(scratch),
                reinterpret_cast<float4*>(dtable));
}

Status position_backward(size_t rows, size_t width, size_t length, const Bfloat16* dout, float* dpositions,
                         CudaStream stream) {
  RETURN_IF_ERROR(check(rows, width));
  RETURN_IF_ERROR(check(length, width));
  return launch("position_backward", positions_kernel, {blocks_for(length * (width / kVector)), kThreads}, stream,
                static_cast<unsigned>(rows), static_cast<unsigned>(width / kVector), static_cast<unsigned>(length),
                reinterpret_cast<const uint4*>(dout), dpositions);
}

}  // namespace freshet::cuda
