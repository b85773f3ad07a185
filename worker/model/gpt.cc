#include "worker/model/gpt.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/random.h"
#include "worker/model/gpt_pass.h"

namespace freshet::worker {
namespace {

constexpr double kDeviation = 0.02;
constexpr size_t kPiece = 1 << 16;

// Sums of twelve uniform numbers less six have mean 0, variance 1 and need no libm, so the bits are the same
// everywhere.
double nearly_normal(const Philox& philox, uint64_t element) {
  double sum = 0;
  for (uint64_t block = 0; block < 3; ++block) {
    for (uint32_t word : philox.block(3 * element + block)) sum += static_cast<double>(word) * 0x1p-32;
  }
  return sum - 6;
}

bool adds_to_residual(const std::string& name) {
  return name.ends_with("c_proj.weight") || name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
}

}  // namespace

uint64_t gpt_dropout_stream(const GptConfig& config, uint64_t step, size_t site) {
  static const uint64_t kFirst = stream_of("dropout of gpt");
  return kFirst + step * gpt_dropout_sites(config) + site;
}

Result<GptModel> GptModel::create(const GptConfig& config) {
  RETURN_IF_ERROR(config.check());
  return GptModel(config);
}

void GptModel::initialise(uint64_t seed, float* parameters) const {
  for (const auto& tensor : layout_.tensors) {
    float* values = parameters + tensor.offset;
    if (tensor.shape.size() == 1) {
      std::fill_n(values, tensor.size, tensor.name.ends_with(".bias") ? 0.0F : 1.0F);
      continue;
    }
    const double deviation = adds_to_residual(tensor.name) ? kDeviation / std::sqrt(2.0 * config_.layers) : kDeviation;
    Philox philox(seed, stream_of("initial weights of " + tensor.name));
    for (size_t i = 0; i < tensor.size; ++i) values[i] = static_cast<float>(deviation * nearly_normal(philox, i));
  }
}

void GptModel::round_parameters(const float* parameters, uint16_t* rounded, ThreadPool* pool) const {
  Status status = run_rows(
      layout_.parameters, kPiece,
      [&](size_t begin, size_t end) {
        kernels::to_bfloat16(1, end - begin, end - begin, parameters + begin, rounded + begin);
      },
      pool);
  CHECK(status.is_ok());
}

Status GptModel::check_batch(const GptBatch& batch) const {
  if (batch.rows() == 0) return invalid_argument("there are no tokens");
  if (batch.length > config_.context) {
    return invalid_argument("a sequence of " + std::to_string(batch.length) + " tokens is longer than the context of " +
                            std::to_string(config_.context));
  }
  const auto limit = static_cast<int64_t>(config_.vocabulary);
  for (size_t r = 0; r < batch.rows(); ++r) {
    if (batch.tokens[r] < 0 || batch.tokens[r] >= limit) {
      return invalid_argument("token " + std::to_string(batch.tokens[r]) + " is not in the vocabulary of " +
                              std::to_string(limit));
    }
    if (batch.targets != nullptr && batch.targets[r] >= limit) {
      return invalid_argument("target " + std::to_string(batch.targets[r]) + " is not in the vocabulary of " +
                              std::to_string(limit));
    }
  }
  return Status::ok();
}

Result<double> GptModel::loss(const GptBatch& batch, const GptParameters& parameters, ThreadPool* pool,
                              Workspace* workspace) const {
  GptPass pass(*this, batch, parameters, false, pool, workspace->parts_.get());
  RETURN_IF_ERROR(pass.forward());
  return pass.head(0, nullptr);
}

Result<double> GptModel::forward_backward(const GptBatch& batch, float scale, const GptParameters& parameters,
                                          float* gradient, ThreadPool* pool, Workspace* workspace) const {
  CHECK(workspace->parts_->training);
  GptPass pass(*this, batch, parameters, true, pool, workspace->parts_.get());
  RETURN_IF_ERROR(pass.forward());
  ASSIGN_OR_RETURN(double loss, pass.head(scale, gradient));
  RETURN_IF_ERROR(pass.backward(gradient));
  return loss;
}

Status GptModel::next_token_logits(const GptBatch& batch, const GptParameters& parameters, float* logits,
                                   ThreadPool* pool, Workspace* workspace) const {
  GptPass pass(*this, batch, parameters, false, pool, workspace->parts_.get());
  RETURN_IF_ERROR(pass.forward());
  return pass.logits(batch.length - 1, batch.length, batch.sequences, logits);
}

}  // namespace freshet::worker
