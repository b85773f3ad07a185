#include "worker/gpu/gpt_device_objective.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/embedding.h"
#include "worker/train/sequences.h"

namespace freshet::worker {
namespace {

constexpr size_t kBorder = 256;  // of a section of the input

}  // namespace

GptDeviceObjective::Sections::Sections(const GptConfig& config, const GptDeviceShape& shape) {
  auto add = [this](size_t section_bytes) {
    const size_t at = bytes;
    bytes += (section_bytes + kBorder - 1) / kBorder * kBorder;
    return at;
  };
  scale = add(sizeof(float));
  dropout = add(config.dropout > 0 ? gpt_dropout_sites(config) * sizeof(cuda::DropoutPlace) : 0);
  tokens = add(shape.rows() * sizeof(int32_t));
  targets = add(shape.rows() * sizeof(int32_t));
  runs = add(cuda::token_runs_size(shape.rows()) * sizeof(int32_t));
}

Result<std::unique_ptr<GptDeviceObjective>> GptDeviceObjective::create(const GptModel& model,
                                                                       const std::vector<Token>& tokens,
                                                                       const GptDeviceShape& shape, uint64_t seed,
                                                                       const GptDeviceOptions& options,
                                                                       const cuda::ProductTable& products) {
  RETURN_IF_ERROR(check_sequences(tokens, shape.length));
  ASSIGN_OR_RETURN(auto device, GptDevice::create(model, shape, options, products));
  return std::unique_ptr<GptDeviceObjective>(new GptDeviceObjective(model, tokens, shape, seed, std::move(device)));
}

GptDeviceObjective::GptDeviceObjective(const GptModel& model, const std::vector<Token>& tokens,
                                       const GptDeviceShape& shape, uint64_t seed, GptDevice device)
    : model_(model),
      tokens_(tokens),
      shape_(shape),
      seed_(seed),
      sections_(model.config(), shape),
      device_(std::move(device)) {}

Status GptDeviceObjective::fill_input(const MicroBatch& batch, float scale, std::byte* input) const {
  const size_t length = shape_.length, rows = shape_.rows();
  if (batch.examples.size() > shape_.sequences) {
    return internal("a micro-batch of " + std::to_string(batch.examples.size()) + " sequences, where " +
                    std::to_string(shape_.sequences) + " fit");
  }
  std::fill_n(input, sections_.tokens, std::byte{0});
  const float scale_of_token = scale / static_cast<float>(length);
  std::memcpy(input + sections_.scale, &scale_of_token, sizeof scale_of_token);
  const GptConfig& config = model_.config();
  for (size_t site = 0; config.dropout > 0 && site < gpt_dropout_sites(config); ++site) {
    const cuda::DropoutPlace place{gpt_dropout_stream(config, batch.step, site), batch.first * length * config.width};
    std::memcpy(input + sections_.dropout + site * sizeof place, &place, sizeof place);
  }
  auto* tokens = reinterpret_cast<int32_t*>(input + sections_.tokens);
  auto* targets = reinterpret_cast<int32_t*>(input + sections_.targets);
  copy_sequences(tokens_, length, batch.examples, tokens, targets);
  std::fill(tokens + batch.examples.size() * length, tokens + rows, 0);
  std::fill(targets + batch.examples.size() * length, targets + rows, -1);
  cuda::token_runs({tokens, rows}, config.vocabulary,
                   {reinterpret_cast<int32_t*>(input + sections_.runs), cuda::token_runs_size(rows)});
  return Status::ok();
}

Status GptDeviceObjective::forward_backward(const std::byte* input, const kernels::Bfloat16* weights, float* gradient,
                                            double* loss, cuda::Stream* stream, const PartReady& is_ready) {
  GptDeviceInput micro_batch;
  micro_batch.tokens = reinterpret_cast<const int32_t*>(input + sections_.tokens);
  micro_batch.targets = reinterpret_cast<const int32_t*>(input + sections_.targets);
  micro_batch.runs = reinterpret_cast<const int32_t*>(input + sections_.runs);
  micro_batch.scale = reinterpret_cast<const float*>(input + sections_.scale);
  if (model_.config().dropout > 0) {
    micro_batch.dropout = reinterpret_cast<const cuda::DropoutPlace*>(input + sections_.dropout);
    micro_batch.dropout_seed = seed_;
  }
  RETURN_IF_ERROR(device_.forward_backward(micro_batch, weights, gradient, loss, stream, is_ready));
  return cuda::divide(1, static_cast<double>(shape_.length), loss, stream->get());
}

}  // namespace freshet::worker
