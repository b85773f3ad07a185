#include "worker/gpu/gpt_device.h"

#include "worker/gpu/gpt_device_pass.h"

namespace freshet::worker {
namespace {

Status write_rope_table(const GptConfig& config, const GptDevicePlan& plan, std::byte* arena,
                        const cuda::Stream& stream) {
  if (plan.rope == kNoBuffer) return Status::ok();
  const auto table = kernels::rope_table(plan.shape.length, config.head_size(), config.rope_base);
  RETURN_IF_ERROR(cuda::copy_to_device(arena + plan.rope, table.data(), table.size() * sizeof(float), stream.get()));
  return stream.synchronize();
}

Result<GptDeviceSide> create_side(const cuda::ProductTable& table) {
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto products, cuda::Products::create(table));
  ASSIGN_OR_RETURN(auto begins, cuda::Event::create());
  ASSIGN_OR_RETURN(auto ends, cuda::Event::create());
  return GptDeviceSide{std::move(stream), std::move(products), std::move(begins), std::move(ends)};
}

}  // namespace

Result<GptDevice> GptDevice::create(const GptModel& model, const GptDeviceShape& shape, const GptDeviceOptions& options,
                                    const cuda::ProductTable& table) {
  ASSIGN_OR_RETURN(auto plan, plan_gpt_device(model.config(), shape, options));
  ASSIGN_OR_RETURN(auto arena, cuda::DeviceMemory::allocate(plan.bytes));
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  RETURN_IF_ERROR(write_rope_table(model.config(), plan, arena.data(), stream));
  if (plan.has_float8()) {
    const auto histories = GptDeviceFloat8(plan, arena.data()).histories();
    RETURN_IF_ERROR(cuda::fill_bytes(histories.data(), 0, histories.size_bytes(), stream.get()));
    RETURN_IF_ERROR(stream.synchronize());
  }
  using cuda::Unlisted;
  ASSIGN_OR_RETURN(auto products,
                   cuda::Products::create(table, options.training ? Unlisted::kRefused : Unlisted::kFirstProposal));
  std::optional<GptDeviceSide> side;
  if (options.training && options.weights_beside) {
    ASSIGN_OR_RETURN(auto made, create_side(table));
    side.emplace(std::move(made));
  }
  return GptDevice(model, std::move(plan), std::move(arena), std::move(products), std::move(side));
}

GptDevice::GptDevice(const GptModel& model, GptDevicePlan plan, cuda::DeviceMemory arena, cuda::Products products,
                     std::optional<GptDeviceSide> side)
    : model_(&model),
      plan_(std::move(plan)),
      arena_(std::move(arena)),
      products_(std::move(products)),
      side_(std::move(side)) {}

std::span<cuda::Float8Scale> GptDevice::float8_scales() const {
  if (!plan_.has_float8()) return {};
  return GptDeviceFloat8(plan_, arena_.data()).scales();
}

std::span<cuda::Float8History> GptDevice::float8_histories() const {
  if (!plan_.has_float8()) return {};
  return GptDeviceFloat8(plan_, arena_.data()).histories();
}

Status GptDevice::begin_step(const kernels::Bfloat16* weights, cuda::Stream* stream) {
  if (!plan_.has_float8()) return Status::ok();
  return GptDeviceFloat8(plan_, arena_.data()).begin_step(weights, stream->get());
}

Status GptDevice::end_step(size_t ranks, const cuda::Float8Scale* scales, const int32_t* is_applied,
                           cuda::Stream* stream) {
  const auto histories = float8_histories();
  return cuda::end_float8_step(histories.size(), ranks, scales, is_applied, histories.data(), stream->get());
}

Status GptDevice::losses(const GptDeviceInput& input, const kernels::Bfloat16* weights, double* losses,
                         cuda::Stream* stream) {
  GptDevicePass pass(*model_, plan_, arena_.data(), &products_, input, weights, nullptr, stream);
  RETURN_IF_ERROR(pass.forward());
  return pass.head(plan_.shape.sequences, losses);
}

Status GptDevice::forward_backward(const GptDeviceInput& input, const kernels::Bfloat16* weights, float* gradient,
                                   double* loss, cuda::Stream* stream, const PartReady& is_ready) {
  CHECK(plan_.options.training && gradient != nullptr);
  GptDevicePass pass(*model_, plan_, arena_.data(), &products_, input, weights, gradient, stream,
                     side_ ? &*side_ : nullptr);
  RETURN_IF_ERROR(pass.forward());
  RETURN_IF_ERROR(pass.head(1, loss));
  return pass.backward(is_ready ? is_ready : [](size_t) { return Status::ok(); });
}

std::vector<size_t> GptDevice::gradient_parts() const {
  std::vector<size_t> parts{0};
  for (const auto& layer : model_->layout().layers) parts.push_back(layer.before_attention.weight);
  parts.push_back(model_->layout().final_norm.weight);
  return parts;
}

Status GptDevice::next_token_logits(const GptDeviceInput& input, const kernels::Bfloat16* weights, float* logits,
                                    cuda::Stream* stream) {
  GptDevicePass pass(*model_, plan_, arena_.data(), &products_, input, weights, nullptr, stream);
  RETURN_IF_ERROR(pass.forward());
  return pass.next_token_logits(logits);
}

}  // namespace freshet::worker
