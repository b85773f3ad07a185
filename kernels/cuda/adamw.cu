// Memory-bound. Bytes for each parameter: 16 read (gradient, weight, two moments), 12 written, and 2 for the working
// copy, 4 for zeroing the gradient. Version 1: an element a thread. Version 2: four, with 16-byte accesses; always
// ahead of version 1, which stays as the plain form of the same thing. Compiled without contraction, as the CPU's is.
#include "kernels/cuda/adamw.h"

#include <string>

#include "kernels/cuda/few.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/sums.cuh"

namespace freshet::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kFinishThreads = 1024;
constexpr unsigned kRoundVector = 8;  // elements of a thread in round_weights

__device__ __forceinline__ bool is_finite(double value) { return value - value == 0; }

__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(const StepInput* input, size_t losses, const double* __restrict__ loss_sums, size_t blocks,
                  const double* __restrict__ block_sums, StepOutput* output) {
  __shared__ double scratch[kFinishThreads / kWarp];
  double square = strided_sum<8>(threadIdx.x, blocks, kFinishThreads, [&](size_t i) { return block_sums[i]; });
  square = block_sum(square, scratch);
  if (threadIdx.x > 0) return;
  double loss = 0;
#pragma unroll 8
  for (size_t i = 0; i < losses; ++i) loss += loss_sums[i];
  const double norm = sqrt(square);
  StepOutput out;
  out.loss = loss;
  out.norm = norm;
  const double clip_norm = input->clip_norm;
  out.gradient_scale = clip_norm > 0 && norm > clip_norm ? static_cast<float>(clip_norm / norm) : 1.0F;
  const bool is_above =
      (input->loss_limit > 0 && loss > input->loss_limit) || (input->norm_limit > 0 && norm > input->norm_limit);
  out.is_applied = is_finite(loss) && is_finite(norm) && !is_above ? 1 : 0;
  *output = out;
}

// Bit j: whether `first` + j decays, which it does when an odd number of borders lie at it or in front of it.
template <int kCount>
__device__ __forceinline__ unsigned which_decay(const uint64_t* __restrict__ borders, unsigned count, uint64_t first) {
  unsigned low = 0;
  for (unsigned high = count; low < high;) {
    const unsigned middle = (low + high) / 2;
    if (borders[middle] <= first) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  unsigned decay = low % 2 == 1 ? ~0U : 0U;
  for (; low < count && borders[low] < first + kCount; ++low)
    decay ^= ~0U << static_cast<unsigned>(borders[low] - first);
  return decay;
}

// The random words of elements [first, first + kCount); four begin anywhere.
template <int kCount>
__device__ __forceinline__ void random_words(uint64_t seed, uint64_t step, uint64_t first, unsigned (&words)[kCount]) {
  const unsigned shift = first % 4;
  const uint4 block = philox(seed, step, first / 4);
  if constexpr (kCount == 1) {
    words[0] = shift == 0 ? block.x : shift == 1 ? block.y : shift == 2 ? block.z : block.w;
  } else {
    static_assert(kCount == 4);
    uint4 next = block;
    if (shift > 0) next = philox(seed, step, first / 4 + 1);
    words[0] = shift == 0 ? block.x : shift == 1 ? block.y : shift == 2 ? block.z : block.w;
    words[1] = shift == 0 ? block.y : shift == 1 ? block.z : shift == 2 ? block.w : next.x;
    words[2] = shift == 0 ? block.z : shift == 1 ? block.w : shift == 2 ? next.x : next.y;
    words[3] = shift == 0 ? block.w : shift == 1 ? next.x : shift == 2 ? next.y : next.z;
  }
}

// A float whose lower half is zero. Infinities and what is no number stay what they are.
__device__ __forceinline__ float round_randomly(float value, unsigned word) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7F800000U) == 0x7F800000U) return value;
  return __uint_as_float((bits + (word >> 16)) & 0xFFFF0000U);
}

// The elements [i, i + kCount) of the segment.
template <int kCount, bool kStochastic>
__device__ __forceinline__ void move(const AdamWSegment& p, const StepInput* input, const StepOutput* output,
                                     size_t i) {
  float gradient[kCount], w[kCount], m[kCount], v[kCount];
  load_few(p.gradient + i, gradient);
  if (p.w != nullptr) {
    load_few(p.w + i, w);
  } else {
    load_few(p.rounded + i, w);
  }
  load_few(p.m + i, m);
  load_few(p.v + i, v);
  if (p.zero_gradient) {
    const float zeros[kCount] = {};
    store_few(zeros, p.gradient + i);
  }
  if (output->is_applied == 0) return;

  const kernels::AdamWStep s = input->adamw;
  const float gradient_scale = output->gradient_scale;
  const uint64_t element = p.first + i;
  const unsigned decay = which_decay<kCount>(p.decayed, static_cast<unsigned>(p.decayed_borders), element);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const float weight_decay = (decay >> j & 1U) != 0 ? s.weight_decay : 0.0F;
    // As in kernels/cpu/adamw_cpu.cc, operation for operation.
    const float g = gradient_scale * gradient[j];
    m[j] = s.beta1 * m[j] + (1.0F - s.beta1) * g;
    v[j] = s.beta2 * v[j] + ((1.0F - s.beta2) * g) * g;
    const float direction = (m[j] * s.correction1) / (sqrtf(v[j] * s.correction2) + s.epsilon);
    w[j] = w[j] - s.learning_rate * (direction + weight_decay * w[j]);
  }
  store_few(m, p.m + i);
  store_few(v, p.v + i);
  if (p.w != nullptr) store_few(w, p.w + i);
  if (p.rounded == nullptr) return;
  if constexpr (kStochastic) {
    unsigned words[kCount];
    random_words(input->seed, input->step, element, words);
#pragma unroll
    for (int j = 0; j < kCount; ++j) w[j] = round_randomly(w[j], words[j]);
  }
  store_few(w, p.rounded + i);
}

template <int kCount, bool kStochastic>
__global__ void __launch_bounds__(kThreads, 5)
    adamw_kernel(AdamWSegment p, const StepInput* __restrict__ input, const StepOutput* __restrict__ output) {
  const size_t begin = (static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (begin + kCount <= p.count) {
    move<kCount, kStochastic>(p, input, output, begin);
  } else {
    for (size_t i = begin; i < p.count; ++i) move<1, kStochastic>(p, input, output, i);
  }
}

__global__ void __launch_bounds__(kThreads)
    round_kernel(size_t count, const float* __restrict__ w, Bfloat16* __restrict__ rounded) {
  const size_t begin = (static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x) * kRoundVector;
  if (begin + kRoundVector <= count) {
    const float4 low = reinterpret_cast<const float4*>(w + begin)[0];
    const float4 high = reinterpret_cast<const float4*>(w + begin)[1];
    store8({low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}, rounded + begin);
  } else {
    for (size_t i = begin; i < count; ++i) rounded[i] = narrow(w[i]);
  }
}

unsigned blocks_for(size_t count, size_t of_thread) {
  return static_cast<unsigned>((count + kThreads * of_thread - 1) / (kThreads * of_thread));
}

}  // namespace

Status finish_step_numbers(const StepInput* input, size_t losses, const double* loss_sums, size_t blocks,
                           const double* block_sums, StepOutput* output, CudaStream stream) {
  return launch("finish_step_numbers", finish_kernel, {1, kFinishThreads}, stream, input, losses, loss_sums, blocks,
                block_sums, output);
}

Status adamw(const AdamWSegment& segment, const StepInput* input, const StepOutput* output, CudaStream stream,
             int version) {
  if (version < 0 || version > kAdamWVersions || (segment.w == nullptr && segment.rounded == nullptr)) {
    return invalid_argument("AdamW needs weights, and has versions up to " + std::to_string(kAdamWVersions) + ", not " +
                            std::to_string(version));
  }
  const bool is_stochastic = segment.rounding == Rounding::kStochastic;
  if (version == 1) {
    return launch("adamw", is_stochastic ? adamw_kernel<1, true> : adamw_kernel<1, false>,
                  {blocks_for(segment.count, 1), kThreads}, stream, segment, input, output);
  }
  return launch("adamw", is_stochastic ? adamw_kernel<4, true> : adamw_kernel<4, false>,
                {blocks_for(segment.count, 4), kThreads}, stream, segment, input, output);
}

Status round_weights(size_t count, const float* w, Bfloat16* rounded, CudaStream stream) {
  return launch("round_weights", round_kernel, {blocks_for(count, kRoundVector), kThreads}, stream, count, w, rounded);
}

}  // namespace freshet::cuda
