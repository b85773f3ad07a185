// The smallest model that a device can train, and the same arithmetic for the CPU's loop, so that all else of a
// training can be compared bit by bit. Tests only.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/device.h"
#include "tests/unit/worker_gpu/linear_kernels.h"
#include "worker/gpu/device_objective.h"
#include "worker/train/objective.h"

namespace freshet::worker {

// A matrix, whose weights decay, and a vector: two blocks and a bit in all.
inline const std::vector<TensorView>& linear_tensors() {
  static const std::vector<TensorView> kTensors = {{"matrix", {3, 500}, 0, 1500}, {"vector", {700}, 1500, 700}};
  return kTensors;
}
inline constexpr size_t kLinearParameters = 2200;

inline std::vector<float> linear_start() {
  std::vector<float> values(kLinearParameters);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.02F * std::sin(static_cast<float>(i));
  return values;
}

// So many examples, each with a target.
inline std::vector<float> linear_targets(size_t examples) {
  std::vector<float> targets(examples);
  for (size_t i = 0; i < examples; ++i) targets[i] = 2 * std::cos(static_cast<float>(i));
  return targets;
}

class LinearObjective final : public DeviceObjective {
 public:
  LinearObjective(std::vector<float> targets, size_t micro_batch_rows)
      : targets_(std::move(targets)),
        rows_(micro_batch_rows),
        residuals_(cuda::DeviceMemory::allocate(rows_ * sizeof(float)).value()) {}

  size_t parameters() const override { return kLinearParameters; }
  size_t examples() const override { return targets_.size(); }
  const std::vector<TensorView>& tensors() const override { return linear_tensors(); }
  std::vector<size_t> gradient_parts() const override { return {0, 1500}; }
  size_t input_bytes() const override { return rows_ * sizeof(LinearRow); }
  Status fill_input(const MicroBatch& batch, float scale, std::byte* input) const override {
    std::vector<LinearRow> rows(rows_);
    CHECK(batch.examples.size() <= rows.size());
    for (size_t r = 0; r < batch.examples.size(); ++r) {
      rows[r] = {batch.examples[r], targets_[batch.examples[r]], scale};
    }
    std::memcpy(input, rows.data(), input_bytes());
    return Status::ok();
  }
  Status forward_backward(const std::byte* input, const kernels::Bfloat16* weights, float* gradient, double* loss,
                          cuda::Stream* stream, const PartReady& is_ready) override {
    RETURN_IF_ERROR(linear_forward_backward(rows_, kLinearParameters, reinterpret_cast<const LinearRow*>(input),
                                            weights, residuals_.data<float>(), gradient, loss, stream->get()));
    RETURN_IF_ERROR(is_ready(1));
    return is_ready(0);
  }

 private:
  const std::vector<float> targets_;
  const size_t rows_;
  const cuda::DeviceMemory residuals_;
};

// A device's objective for the loop on a CPU: the gradients of micro-batches come from the device, all else does not.
class HostedObjective final : public Objective {
 public:
  explicit HostedObjective(DeviceObjective* device)
      : device_(*device),
        stream_(cuda::Stream::create().value()),
        input_(device->input_bytes()),
        rounded_(device->parameters()),
        memory_(cuda::DeviceMemory::allocate(padded(input_.size()) + padded(6 * rounded_.size()) + 8).value()) {}

  size_t parameters() const override { return device_.parameters(); }
  size_t examples() const override { return device_.examples(); }
  const std::vector<TensorView>& tensors() const override { return device_.tensors(); }
  std::span<uint16_t> rounded() override { return rounded_; }
  Result<double> forward_backward(const MicroBatch& batch, float scale, const float*, float* gradient,
                                  unsigned) override {
    RETURN_IF_ERROR(device_.fill_input(batch, scale, input_.data()));
    std::byte* const input = memory_.data();
    auto* const on_device = reinterpret_cast<float*>(input + padded(input_.size()));
    auto* const weights = reinterpret_cast<kernels::Bfloat16*>(on_device + rounded_.size());
    auto* const loss = reinterpret_cast<double*>(input + padded(input_.size()) + padded(6 * rounded_.size()));
    RETURN_IF_ERROR(cuda::copy_to_device(input, input_.data(), input_.size(), stream_.get()));
    RETURN_IF_ERROR(cuda::copy_to_device(weights, rounded_.data(), 2 * rounded_.size(), stream_.get()));
    RETURN_IF_ERROR(
        device_.forward_backward(input, weights, on_device, loss, &stream_, [](size_t) { return Status::ok(); }));
    double sum = 0;
    RETURN_IF_ERROR(cuda::copy_to_host(gradient, on_device, 4 * rounded_.size(), stream_.get()));
    RETURN_IF_ERROR(cuda::copy_to_host(&sum, loss, sizeof sum, stream_.get()));
    RETURN_IF_ERROR(stream_.synchronize());
    return sum;
  }

 private:
  static size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }
  DeviceObjective& device_;
  cuda::Stream stream_;
  std::vector<std::byte> input_;
  std::vector<uint16_t> rounded_;
  const cuda::DeviceMemory memory_;
};

}  // namespace freshet::worker
