#include "worker/gpu/gpt_device_scorer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"

namespace freshet::worker {
namespace {

using kernels::Bfloat16;

constexpr size_t kPassSequences = 8;
constexpr size_t kPassTokens = 8192;                // at most, unless a sequence has more
constexpr size_t kBorder = 64;                      // tokens: 256 bytes
constexpr size_t kPieceElements = size_t{1} << 22;  // of the parameters that are rounded at a time

// Rounds a piece while the one before it is copied.
Status copy_rounded(std::span<const float> parameters, Bfloat16* weights, cuda::Stream* stream) {
  struct Piece {
    cuda::PinnedMemory memory;
    cuda::Event copied;
  };
  std::array<std::optional<Piece>, 2> pieces;
  const size_t most = std::min(parameters.size(), kPieceElements);
  for (auto& piece : pieces) {
    ASSIGN_OR_RETURN(auto memory, cuda::PinnedMemory::allocate(most * sizeof(Bfloat16)));
    ASSIGN_OR_RETURN(auto copied, cuda::Event::create());
    piece.emplace(Piece{std::move(memory), std::move(copied)});
  }
  for (size_t first = 0, turn = 0; first < parameters.size(); first += most, ++turn) {
    Piece& piece = *pieces[turn % pieces.size()];
    const size_t count = std::min(most, parameters.size() - first);
    RETURN_IF_ERROR(piece.copied.synchronize());
    kernels::to_bfloat16(1, count, count, parameters.data() + first, piece.memory.data<Bfloat16>());
    RETURN_IF_ERROR(
        cuda::copy_to_device(weights + first, piece.memory.data(), count * sizeof(Bfloat16), stream->get()));
    RETURN_IF_ERROR(piece.copied.record(stream->get()));
  }
  return stream->synchronize();
}

}  // namespace

GptDeviceShape gpt_scoring_shape(const GptConfig& config) {
  return {std::clamp<size_t>(kPassTokens / config.context, 1, kPassSequences), config.context};
}

Result<GptDevicePlan> plan_gpt_scoring(const GptConfig& config) {
  return plan_gpt_device(config, gpt_scoring_shape(config), {.training = false});
}

Result<std::unique_ptr<GptDeviceScorer>> GptDeviceScorer::create(const GptModel& model, const GptDeviceShape& shape,
                                                                 std::span<const float> parameters,
                                                                 const cuda::ProductTable& products) {
  CHECK(parameters.size() == model.parameters() && shape.length == model.config().context);
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto weights, cuda::DeviceMemory::allocate(parameters.size() * sizeof(Bfloat16)));
  ASSIGN_OR_RETURN(auto device, GptDevice::create(model, shape, {.training = false}, products));
  const size_t stride = (shape.rows() + kBorder - 1) / kBorder * kBorder;
  const size_t input_bytes = 2 * stride * sizeof(int32_t), loss_bytes = shape.sequences * sizeof(double);
  ASSIGN_OR_RETURN(auto input, cuda::DeviceMemory::allocate(input_bytes));
  ASSIGN_OR_RETURN(auto losses, cuda::DeviceMemory::allocate(loss_bytes));
  auto make_slot = [&]() -> Result<Slot> {
    ASSIGN_OR_RETURN(auto pinned_input, cuda::PinnedMemory::allocate(input_bytes));
    ASSIGN_OR_RETURN(auto pinned_losses, cuda::PinnedMemory::allocate(loss_bytes));
    ASSIGN_OR_RETURN(auto done, cuda::Event::create());
    return Slot{std::move(pinned_input), std::move(pinned_losses), std::move(done)};
  };
  ASSIGN_OR_RETURN(auto first, make_slot());
  ASSIGN_OR_RETURN(auto second, make_slot());
  RETURN_IF_ERROR(copy_rounded(parameters, weights.data<Bfloat16>(), &stream));
  return std::unique_ptr<GptDeviceScorer>(new GptDeviceScorer(std::move(device), std::move(weights), std::move(input),
                                                              std::move(losses), std::move(stream),
                                                              {std::move(first), std::move(second)}));
}

GptDeviceScorer::GptDeviceScorer(GptDevice device, cuda::DeviceMemory weights, cuda::DeviceMemory input,
                                 cuda::DeviceMemory losses, cuda::Stream stream, std::array<Slot, 2> slots)
    : device_(std::move(device)),
      weights_(std::move(weights)),
      input_(std::move(input)),
      losses_(std::move(losses)),
      slots_(std::move(slots)),
      stream_(std::move(stream)) {}

Result<double> GptDeviceScorer::nats(std::span<const Token> text) {
  const size_t rows = device_.plan().shape.rows();
  const size_t predicted = text.empty() ? 0 : text.size() - 1, passes = (predicted + rows - 1) / rows;
  double nats = 0;
  for (size_t pass = 0; pass < passes + slots_.size(); ++pass) {
    Slot& slot = slots_[pass % slots_.size()];
    if (pass >= slots_.size() && pass - slots_.size() < passes) RETURN_IF_ERROR(add_pass(slot, &nats));
    if (pass < passes) RETURN_IF_ERROR(queue_pass(text, pass * rows, &slot));
  }
  return nats;
}

Status GptDeviceScorer::queue_pass(std::span<const Token> text, size_t first, Slot* slot) {
  const GptDeviceShape& shape = device_.plan().shape;
  const size_t rows = shape.rows();
  auto* host = slot->input.data<int32_t>();
  copy_text(text, first, {host, rows}, {host + targets_at(), rows});
  GptBatch batch;
  batch.sequences = shape.sequences;
  batch.length = shape.length;
  batch.tokens = host;
  batch.targets = host + targets_at();
  RETURN_IF_ERROR(device_.model().check_batch(batch));
  const auto* tokens = input_.data<int32_t>();
  GptDeviceInput input;
  input.tokens = tokens;
  input.targets = tokens + targets_at();
  RETURN_IF_ERROR(cuda::copy_to_device(input_.data(), host, input_.bytes(), stream_.get()));
  RETURN_IF_ERROR(device_.losses(input, weights_.data<Bfloat16>(), losses_.data<double>(), &stream_));
  RETURN_IF_ERROR(cuda::copy_to_host(slot->losses.data(), losses_.data(), losses_.bytes(), stream_.get()));
  return slot->done.record(stream_.get());
}

Status GptDeviceScorer::add_pass(const Slot& slot, double* nats) const {
  RETURN_IF_ERROR(slot.done.synchronize());
  const auto* losses = slot.losses.data<double>();
  for (size_t s = 0; s < device_.plan().shape.sequences; ++s) *nats += losses[s];
  return Status::ok();
}

}  // namespace freshet::worker
