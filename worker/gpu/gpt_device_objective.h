// Training a gpt on a device: the same examples, losses and dropout masks as GptObjective's. An example is a sequence
// of one length, its loss the mean over its tokens. A micro-batch with fewer examples than its shape has is filled up
// with sequences whose tokens have no targets.
#pragma once

#include <memory>
#include <vector>

#include "worker/gpu/device_objective.h"
#include "worker/gpu/gpt_device.h"
#include "worker/text/tokenizer.h"

namespace freshet::worker {

class GptDeviceObjective final : public DeviceObjective {
 public:
  // `seed` is that of dropout. Allocates all device memory that the passes need. invalid_argument when there is no
  // whole sequence. Model and tokens must outlive it.
  static Result<std::unique_ptr<GptDeviceObjective>> create(const GptModel& model, const std::vector<Token>& tokens,
                                                            const GptDeviceShape& shape, uint64_t seed,
                                                            const GptDeviceOptions& options = {},
                                                            const cuda::ProductTable& products = {});

  size_t parameters() const override { return model_.parameters(); }
  const std::vector<TensorView>& tensors() const override { return model_.tensors(); }
  size_t examples() const override { return (tokens_.size() - 1) / shape_.length; }
  size_t input_bytes() const override { return sections_.bytes; }
  Status fill_input(const MicroBatch& batch, float scale, std::byte* input) const override;
  std::vector<size_t> gradient_parts() const override { return device_.gradient_parts(); }
  Status forward_backward(const std::byte* input, const kernels::Bfloat16* weights, float* gradient, double* loss,
                          cuda::Stream* stream, const PartReady& is_ready) override;

  // Histories of 8-bit scales, and the scales themselves.
  std::span<std::byte> state() const override { return std::as_writable_bytes(device_.float8_histories()); }
  std::span<std::byte> notes() const override { return std::as_writable_bytes(device_.float8_scales()); }
  Status begin_step(const kernels::Bfloat16* weights, std::span<const std::byte* const>,
                    cuda::Stream* stream) override {
    return device_.begin_step(weights, stream);
  }
  Status end_step(const cuda::StepInput*, const cuda::StepOutput* output, std::span<const std::byte> notes,
                  cuda::Stream* stream) override {
    if (notes.empty()) return Status::ok();
    return device_.end_step(notes.size() / this->notes().size(),
                            reinterpret_cast<const cuda::Float8Scale*>(notes.data()), &output->is_applied, stream);
  }

  const GptDevice& device() const { return device_; }

 private:
  // Offsets into an input, in bytes.
  struct Sections {
    Sections(const GptConfig& config, const GptDeviceShape& shape);
    size_t scale = 0, dropout = 0, tokens = 0, targets = 0, runs = 0;
    size_t bytes = 0;
  };
  GptDeviceObjective(const GptModel& model, const std::vector<Token>& tokens, const GptDeviceShape& shape,
                     uint64_t seed, GptDevice device);

  const GptModel& model_;
  const std::vector<Token>& tokens_;
  const GptDeviceShape shape_;
  const uint64_t seed_;
  const Sections sections_;
  GptDevice device_;
};

}  // namespace freshet::worker
