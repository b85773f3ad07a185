// A gpt's losses on text by a GPU, whatever its recipe computes in: weights and activations bfloat16, as in a training
// in BFLOAT16, no memory for gradients. A text begins a pass of its own, and all passes have one shape, so that its
// loss depends on nothing that is scored beside it. While a pass is computed the next one's tokens are put in place.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/products.h"
#include "worker/gpu/gpt_device.h"
#include "worker/model/text_scorer.h"

namespace freshet::worker {

// The shape of the passes: 8 contexts, fewer of more than 1,024 tokens, which is enough to keep a GPU busy and little
// enough that short texts do not cost much.
GptDeviceShape gpt_scoring_shape(const GptConfig& config);
// What scoring takes of a device, and, with gpt_device_products(), which matrix products; as plan_gpt_device().
Result<GptDevicePlan> plan_gpt_scoring(const GptConfig& config);

class GptDeviceScorer final : public TextScorer {
 public:
  // Allocates all device memory, and puts the rounded parameters there, which are not needed afterwards; the model must
  // outlive it. `shape`: of whole contexts. resource_exhausted when the device lacks the memory. `products` as in
  // GptDevice::create().
  static Result<std::unique_ptr<GptDeviceScorer>> create(const GptModel& model, const GptDeviceShape& shape,
                                                         std::span<const float> parameters,
                                                         const cuda::ProductTable& products = {});

  Result<double> nats(std::span<const Token> text) override;

  // Of device memory, but for what the products' library takes.
  size_t bytes() const { return device_.bytes() + weights_.bytes() + input_.bytes() + losses_.bytes(); }

 private:
  // What the host exchanges with one pass: pinned memory that is the device's until `done`.
  struct Slot {
    cuda::PinnedMemory input;   // tokens, and at targets_at() targets
    cuda::PinnedMemory losses;  // [sequences], in double
    cuda::Event done;
  };
  GptDeviceScorer(GptDevice device, cuda::DeviceMemory weights, cuda::DeviceMemory input, cuda::DeviceMemory losses,
                  cuda::Stream stream, std::array<Slot, 2> slots);

  size_t targets_at() const { return input_.bytes() / (2 * sizeof(int32_t)); }
  Status queue_pass(std::span<const Token> text, size_t first, Slot* slot);
  // Adds the losses of the slot's pass, which it waits for.
  Status add_pass(const Slot& slot, double* nats) const;

  GptDevice device_;
  cuda::DeviceMemory weights_, input_, losses_;
  std::array<Slot, 2> slots_;
  cuda::Stream stream_;  // the last member: it waits for its work before the memory goes
};

}  // namespace freshet::worker
