// Memory-bound. Bytes for each element: gelu 4; swiglu 6 for each of y, its gradient 10; dropout 4,
// forward and back. Elementwise kernels have one version: two 16-byte accesses of an array in flight in each of up to
// 2048 threads a multiprocessor. Where columns are summed, too, see column_pass.cuh.
#include "kernels/cuda/activation.h"

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/column_pass.cuh"
#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kVector = 8;  // elements of a 16-byte access
constexpr unsigned kThreads = 256;
constexpr unsigned kInFlight = 2;  // vectors of a thread in the elementwise kernels

using Vector = float[kVector];

// 1 / (1 + e^-x)
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0F, 1.0F + __expf(-x)); }

// The thread's vectors of an array: vector(u) for u < kInFlight, behind each other in a warp.
__device__ __forceinline__ size_t vector(unsigned u) {
  return (static_cast<size_t>(blockIdx.x) * kInFlight + u) * kThreads + threadIdx.x;
}

unsigned elementwise_blocks(size_t vectors) {
  return static_cast<unsigned>((vectors + kThreads * kInFlight - 1) / (kThreads * kInFlight));
}

__global__ void __launch_bounds__(kThreads) gelu_kernel(size_t vectors, const Bfloat16* z, Bfloat16* y) {
  uint4 in[kInFlight];
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) < vectors) in[u] = reinterpret_cast<const uint4*>(z)[vector(u)];
  }
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) >= vectors) continue;
    Vector from, to;
    widen8(in[u], from);
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) to[i] = gelu(from[i]);
    reinterpret_cast<uint4*>(y)[vector(u)] = narrow8(to);
  }
}

// Where y's vector `at` has its gate in gate_up, whose rows are twice as wide; its up lies `row_vectors` behind.
__device__ __forceinline__ size_t gate_of(unsigned at, unsigned row_vectors) {
  return size_t{at} + size_t{at / row_vectors} * row_vectors;
}

__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(unsigned vectors, unsigned row_vectors, const uint4* __restrict__ gate_up, uint4* __restrict__ y) {
  uint4 gates[kInFlight], ups[kInFlight];
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) >= vectors) continue;
    const size_t gate = gate_of(static_cast<unsigned>(vector(u)), row_vectors);
    gates[u] = gate_up[gate];
    ups[u] = gate_up[gate + row_vectors];
  }
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) >= vectors) continue;
    Vector gate, up;
    widen8(gates[u], gate);
    widen8(ups[u], up);
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) up[i] *= gate[i] * sigmoid(gate[i]);
    y[vector(u)] = narrow8(up);
  }
}

__global__ void __launch_bounds__(kThreads)
    swiglu_gradient_kernel(unsigned vectors, unsigned row_vectors, const uint4* __restrict__ gate_up,
                           const uint4* __restrict__ dy, uint4* __restrict__ d_gate_up) {
  uint4 gates[kInFlight], ups[kInFlight], ds[kInFlight];
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) >= vectors) continue;
    const size_t gate = gate_of(static_cast<unsigned>(vector(u)), row_vectors);
    gates[u] = gate_up[gate];
    ups[u] = gate_up[gate + row_vectors];
    ds[u] = dy[vector(u)];
  }
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) >= vectors) continue;
    Vector gate, up, d;
    widen8(gates[u], gate);
    widen8(ups[u], up);
    widen8(ds[u], d);
#pragma unroll
    for (unsigned i = 0; i < kVector; ++i) {
      const float s = sigmoid(gate[i]);
      up[i] *= d[i] * (s + gate[i] * s * (1.0F - s));  // d_gate
      gate[i] *= s * d[i];                             // d_up
    }
    const size_t to = gate_of(static_cast<unsigned>(vector(u)), row_vectors);
    d_gate_up[to] = narrow8(up);
    d_gate_up[to + row_vectors] = narrow8(gate);
  }
}

// Which elements are dropped, and what the others are multiplied by.
struct Mask {
  uint64_t seed;
  const DropoutPlace* place;
  unsigned limit;
  float scale;
};

Result<Mask> mask_of(const kernels::Dropout& dropout, const DropoutPlace* place) {
  if (!(dropout.probability >= 0 && dropout.probability < 1)) {
    return invalid_argument("a dropout has a probability from 0 to below 1");
  }
  return Mask{dropout.seed, place, static_cast<unsigned>(static_cast<double>(dropout.probability) * 0x1p32),
              1.0F / (1.0F - dropout.probability)};
}

// The values of a vector that lies `at` vectors behind `first`, which is a number of fours; both belong to `number`.
__device__ __forceinline__ void apply(const Mask& mask, uint64_t number, uint64_t first, size_t at, Vector& values) {
  const uint64_t counter = first + at * 2;
  const uint4 low = philox(mask.seed, number, counter), high = philox(mask.seed, number, counter + 1);
  const unsigned words[kVector] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (unsigned i = 0; i < kVector; ++i) values[i] *= words[i] >= mask.limit ? mask.scale : 0.0F;
}

__global__ void __launch_bounds__(kThreads) dropout_kernel(size_t vectors, Mask mask, const Bfloat16* x, Bfloat16* y) {
  uint4 in[kInFlight];
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) < vectors) in[u] = reinterpret_cast<const uint4*>(x)[vector(u)];
  }
  const uint64_t number = mask.place->stream, first = mask.place->first / 4;
#pragma unroll
  for (unsigned u = 0; u < kInFlight; ++u) {
    if (vector(u) >= vectors) continue;
    Vector values;
    widen8(in[u], values);
    apply(mask, number, first, vector(u), values);
    reinterpret_cast<uint4*>(y)[vector(u)] = narrow8(values);
  }
}

struct DropoutBackward {
  using In = uint4;
  Mask mask;
  const Bfloat16* dy;
  Bfloat16* dx;
  uint64_t number = 0, first = 0;

  __device__ void begin(unsigned, unsigned) {
    number = mask.place->stream;
    first = mask.place->first / 4;
  }
  __device__ In load(size_t place) const { return packed8(dy + place); }
  __device__ void row(size_t place, const In& in, float (&values)[kPassColumns]) const {
    widen8(in, values);
    apply(mask, number, first, place / kVector, values);
    store8(values, dx + place);
  }
};

Status check(size_t count, const char* what) {
  if (count % kVector == 0 && count / kVector <= UINT32_MAX) return Status::ok();
  return invalid_argument(std::string(what) + " must be a multiple of 8 below 2^35, not " + std::to_string(count));
}

}  // namespace

Status gelu_forward(size_t count, const Bfloat16* z, Bfloat16* y, CudaStream stream) {
  RETURN_IF_ERROR(check(count, "the elements of a gelu"));
  const size_t vectors = count / kVector;
  return launch("gelu_forward", gelu_kernel, {elementwise_blocks(vectors), kThreads}, stream, vectors, z, y);
}

Status swiglu_forward(size_t rows, size_t columns, const Bfloat16* gate_up, Bfloat16* y, CudaStream stream) {
  RETURN_IF_ERROR(check(columns, "the columns of a swiglu"));
  RETURN_IF_ERROR(check(rows * columns, "the elements of a swiglu"));
  const auto vectors = static_cast<unsigned>(rows * columns / kVector);
  return launch("swiglu_forward", swiglu_kernel, {elementwise_blocks(vectors), kThreads}, stream, vectors,
                static_cast<unsigned>(columns / kVector), reinterpret_cast<const uint4*>(gate_up),
                reinterpret_cast<uint4*>(y));
}

Status swiglu_backward(size_t rows, size_t columns, const Bfloat16* gate_up, const Bfloat16* dy, Bfloat16* d_gate_up,
                       CudaStream stream) {
  RETURN_IF_ERROR(check(columns, "the columns of a swiglu"));
  RETURN_IF_ERROR(check(rows * columns, "the elements of a swiglu"));
  const auto vectors = static_cast<unsigned>(rows * columns / kVector);
  return launch("swiglu_backward", swiglu_gradient_kernel, {elementwise_blocks(vectors), kThreads}, stream, vectors,
                static_cast<unsigned>(columns / kVector), reinterpret_cast<const uint4*>(gate_up),
                reinterpret_cast<const uint4*>(dy), reinterpret_cast<uint4*>(d_gate_up));
}

Status dropout(const kernels::Dropout& dropout, const DropoutPlace* place, size_t count, const Bfloat16* x, Bfloat16* y,
               CudaStream stream) {
  RETURN_IF_ERROR(check(count, "the elements of a dropout"));
  ASSIGN_OR_RETURN(const Mask mask, mask_of(dropout, place));
  if (dropout.probability == 0 && x == y) return Status::ok();
  const size_t vectors = count / kVector;
  return launch("dropout", dropout_kernel, {elementwise_blocks(vectors), kThreads}, stream, vectors, mask, x, y);
}

size_t dropout_backward_scratch(size_t rows, size_t columns) { return ColumnPass{rows, columns, columns}.scratch(); }

Status dropout_backward(const kernels::Dropout& dropout, const DropoutPlace* place, size_t rows, size_t columns,
                        const Bfloat16* dy, Bfloat16* dx, float* sums, float* scratch, CudaStream stream) {
  RETURN_IF_ERROR(check(columns, "the columns of a dropout"));
  ASSIGN_OR_RETURN(const Mask mask, mask_of(dropout, place));
  return run_column_pass("dropout_backward", {rows, columns, columns}, DropoutBackward{mask, dy, dx}, sums, scratch,
                         stream);
}

}  // namespace freshet::cuda
