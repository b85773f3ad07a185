#include "worker/model/gpt_workspace.h"

#include <algorithm>

#include "kernels/rope.h"
#include "worker/model/gpt.h"

namespace freshet::worker {

GptWorkspace::GptWorkspace(const GptConfig& config, size_t rows, bool for_training)
    : rows_max(rows), training(for_training) {
  const bool rounded = config.rounds_operands();
  auto floats = [rows](size_t width) { return GptRows{CacheArray<float>(rows * width), {}, width}; };
  auto operand = [&](size_t width) {
    GptRows made = floats(width);
    if (rounded) made.h = CacheArray<kernels::Bfloat16>(rows * width);
    return made;
  };
  const size_t width = config.width, hidden = config.hidden_width(), active_width = config.feed_forward;
  for (size_t i = 0; i < (training ? config.layers : 1); ++i) {
    GptLayerState state;
    state.input = floats(width);
    state.normed = operand(width);
    state.qkv = floats(config.qkv_width());
    state.attended = operand(width);
    state.middle = floats(width);
    state.normed_middle = operand(width);
    state.hidden = floats(hidden);
    for (auto* array : {&state.mean, &state.scale, &state.mean_middle, &state.scale_middle}) {
      *array = CacheArray<float>(rows);
    }
    state.log_sum = CacheArray<float>(rows * config.heads);
    layers.push_back(std::move(state));
  }
  active = operand(active_width);
  added = floats(width);
  last = floats(width);
  normed_last = operand(width);
  mean_last = CacheArray<float>(rows);
  scale_last = CacheArray<float>(rows);

  const size_t head_rows = std::min(rows, kHeadRows);
  const size_t blocks = (config.vocabulary + kHeadColumns - 1) / kHeadColumns;
  logits = CacheArray<float>(head_rows * config.vocabulary);
  parts.resize(blocks * head_rows);
  logit.resize(head_rows);
  log_sum.resize(head_rows);
  positions.resize(rows);
  if (config.style == GptConfig::Style::kLlama) {
    rope = kernels::rope_table(config.context, config.head_size(), config.rope_base);
  }
  if (!training) return;
  partial = CacheArray<float>(std::min(blocks, kHeadGroups) * head_rows * width);
  d_residual = operand(width);
  if (config.dropout > 0) d_added = operand(width);
  d_normed = floats(width);
  d_attended = floats(width);
  d_qkv = operand(config.qkv_width());
  d_active = operand(active_width);
  if (config.style == GptConfig::Style::kLlama) d_hidden = operand(hidden);
}

size_t GptWorkspace::bytes() const {
  size_t sum = logits.bytes() + partial.bytes();
  auto add = [&sum](const GptRows& rows) { sum += rows.f.bytes() + rows.h.bytes(); };
  for (const auto& layer : layers) {
    for (const auto* rows : {&layer.input, &layer.normed, &layer.qkv, &layer.attended, &layer.middle,
                             &layer.normed_middle, &layer.hidden}) {
      add(*rows);
    }
  }
  for (const auto* rows : {&active, &added, &last, &normed_last, &d_residual, &d_added, &d_normed, &d_attended, &d_qkv,
                           &d_active, &d_hidden}) {
    add(*rows);
  }
  return sum;
}

GptModel::Workspace::Workspace(const GptModel& model, size_t rows_max, bool training)
    : parts_(std::make_unique<GptWorkspace>(model.config(), rows_max, training)) {}
GptModel::Workspace::~Workspace() = default;
GptModel::Workspace::Workspace(Workspace&&) noexcept = default;
size_t GptModel::Workspace::bytes() const { return parts_->bytes(); }

}  // namespace freshet::worker
