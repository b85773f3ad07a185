// Where the 8-bit side of a gpt's layers lies in the arena: of each dense layer three scales with their histories, the
// weights in 8 bits, and the values of one product at a time. The weights are made once a step, in both orders: that
// takes as much memory as their working copy, a ninth of what a training keeps of a parameter, and saves each
// micro-batch two readings of them. A view of an arena that was planned with options.float8; internal to GptDevice.
#pragma once

#include <span>

#include "kernels/cuda/float8.h"
#include "worker/gpu/gpt_device_plan.h"

namespace freshet::worker {

// What of a dense layer is quantised, each with a scale of its own.
enum class Float8Array { kInput, kWeight, kOutputGradient };
inline constexpr size_t kFloat8Arrays = 3;

class GptDeviceFloat8 {
 public:
  GptDeviceFloat8(const GptDevicePlan& plan, std::byte* arena) : plan_(plan), arena_(arena) {}

  std::span<cuda::Float8History> histories() const;
  std::span<cuda::Float8Scale> scales() const;
  cuda::Float8Scale* scale(const GptDense& dense, Float8Array array) const;
  // [outputs][inputs], or [inputs][outputs].
  kernels::Float8* weight(const GptDense& dense, bool outputs_first) const;
  // Of one product's first operand.
  kernels::Float8* values() const { return reinterpret_cast<kernels::Float8*>(arena_ + plan_.float8_values); }

  // In front of a step's micro-batches: this step's scales, and the weights by them.
  Status begin_step(const kernels::Bfloat16* weights, cuda::CudaStream stream) const;

 private:
  const GptDevicePlan& plan_;
  std::byte* arena_;
};

}  // namespace freshet::worker
