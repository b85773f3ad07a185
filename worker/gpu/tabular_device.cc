// What lies where.
#include "worker/gpu/tabular_device.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/cross_layer.h"
#include "kernels/cuda/dense.h"
#include "worker/gpu/memory_plan.h"

namespace freshet::worker {
namespace {

using Interaction = TabularShape::Interaction;

size_t eights(size_t width) { return (width + 7) / 8 * 8; }
size_t on_border(size_t bytes) { return (bytes + 255) / 256 * 256; }

// In which a buffer is needed.
constexpr unsigned kForward = 0, kBackward = 1;

}  // namespace

size_t TabularDevice::offset_of(const std::string& name) const {
  for (const auto& tensor : model_->dense_tensors()) {
    if (tensor.name == name) return tensor.offset;
  }
  check_failed(__FILE__, __LINE__, "the model has the tensor", name);
}

TabularDevice::Matrix TabularDevice::matrix(const std::string& name) const {
  for (const auto& tensor : model_->dense_tensors()) {
    if (tensor.name != name) continue;
    Matrix matrix;
    matrix.outputs = tensor.shape[0];
    matrix.inputs = tensor.shape[1];
    matrix.in_stride = eights(matrix.inputs);
    matrix.out_stride = eights(matrix.outputs);
    matrix.offset = tensor.offset;
    matrix.is_copied = (matrix.inputs | matrix.outputs | matrix.offset) % 8 != 0;
    return matrix;
  }
  check_failed(__FILE__, __LINE__, "the model has the matrix", name);
}

void TabularDevice::describe_layers() {
  const TabularShape& shape = model_->shape();
  auto add = [this](const std::string& name, std::vector<Layer>* layers) {
    Layer layer{matrix(name + ".weight"), offset_of(name + ".bias"), 0};
    layer.is_fused = (layer.bias | layer.weight.outputs) % 8 == 0;
    layers->push_back(layer);
  };
  for (size_t i = 0; i < shape.numeric_layers.size(); ++i) add("numeric." + std::to_string(i), &numeric_layers_);
  for (size_t i = 0; i < shape.hidden.size(); ++i) add("layers." + std::to_string(i), &hidden_layers_);
  add("output", &hidden_layers_);
  for (size_t i = 0; i < shape.cross_layers && shape.interaction == Interaction::kCross; ++i) {
    const std::string name = "cross." + std::to_string(i);
    CrossLayer layer;
    if (shape.cross_rank == 0) {
      layer.weight = matrix(name + ".weight");
    } else {
      layer.down = matrix(name + ".down.weight");
      layer.up = matrix(name + ".up.weight");
    }
    layer.bias = offset_of(name + ".bias");
    cross_layers_.push_back(layer);
  }
  numeric_width_ = shape.numeric_layers.empty() ? shape.numeric : shape.numeric_layers.back();
  numeric_stride_ = eights(numeric_width_);
  feature_stride_ = eights(model_->feature_width());
  interaction_stride_ = hidden_layers_[0].weight.in_stride;
}

std::vector<TabularDevice::Matrix*> TabularDevice::matrices() {
  std::vector<Matrix*> all;
  for (auto* layers : {&numeric_layers_, &hidden_layers_}) {
    for (auto& layer : *layers) all.push_back(&layer.weight);
  }
  for (auto& layer : cross_layers_) {
    for (Matrix* matrix : {&layer.weight, &layer.down, &layer.up}) {
      if (matrix->inputs > 0) all.push_back(matrix);
    }
  }
  return all;
}

void TabularDevice::describe_input() {
  size_t end = 0;
  auto add = [&end](size_t bytes) {
    const size_t begin = end;
    end = on_border(end + bytes);
    return begin;
  };
  input_.scale = add(sizeof(float) + sizeof(uint32_t));
  input_.slot = input_.scale + sizeof(float);
  input_.label = add(rows_ * sizeof(float));
  input_.weight = add(rows_ * sizeof(float));
  input_.numeric = add(rows_ * model_->shape().numeric * sizeof(float));
  input_.words = add(embeddings_->words_bytes());
  input_.bytes = end;
}

Status TabularDevice::plan_memory() {
  MemoryPlan plan;
  const size_t rows = rows_;
  const auto kept = MemoryPlan::from_to(kForward, kBackward);
  auto add = [&](size_t width, MemoryPlan::Phases phases, size_t* place) {
    plan.add(rows * width * sizeof(Bfloat16), phases, place);
  };
  size_t widest = std::max(feature_stride_, numeric_stride_), sums = 0;
  auto needs_sums = [&](size_t columns, size_t stride) {
    sums = std::max(sums, cuda::bias_backward_scratch({rows, columns, stride}));
  };
  for (auto* layers : {&numeric_layers_, &hidden_layers_}) {
    for (auto& layer : *layers) {
      // The last hidden layer's are the logits, in float.
      add(layer.weight.out_stride * (&layer == &hidden_layers_.back() ? 2 : 1), kept, &layer.output);
      widest = std::max({widest, layer.weight.in_stride, layer.weight.out_stride});
      needs_sums(layer.weight.outputs, layer.weight.out_stride);
    }
  }
  for (auto& layer : cross_layers_) {
    add(feature_stride_, kept, &layer.map);
    add(layer.down.out_stride, kept, &layer.low);
    add(feature_stride_, kept, &layer.output);
    needs_sums(model_->feature_width(), feature_stride_);
  }
  // Zeros behind the rows of these are written once and stay.
  const auto always = MemoryPlan::from_to(kForward, kBackward);
  add(feature_stride_, always, &places_.features);
  add(eights(model_->shape().numeric), always, &places_.numeric_input);
  if (model_->shape().interaction == Interaction::kDot) add(interaction_stride_, always, &places_.interaction);
  add(widest, MemoryPlan::in(kBackward), &places_.gradient);
  add(widest, MemoryPlan::in(kBackward), &places_.spare);
  add(feature_stride_, MemoryPlan::in(kBackward), &places_.feature_gradient);
  plan.add(rows * sizeof(double), kept, &places_.losses);
  plan.add(sums * sizeof(float), MemoryPlan::in(kBackward), &places_.sums);
  for (Matrix* matrix : matrices()) {
    if (!matrix->is_copied) continue;
    const size_t size = matrix->out_stride * matrix->in_stride;
    plan.add(size * sizeof(Bfloat16), always, &matrix->copy);
    plan.add(size * sizeof(float), MemoryPlan::in(kBackward), &matrix->gradient_copy);
  }
  ASSIGN_OR_RETURN(workspace_, cuda::DeviceMemory::allocate(plan.place()));
  return Status::ok();
}

Result<TabularDevice> TabularDevice::create(const TabularModel& model, const DeviceEmbeddingsOptions& options,
                                            cuda::Products* products) {
  if (options.rows == 0 || options.slots == 0) return invalid_argument("a micro-batch without rows");
  TabularDevice device;
  device.model_ = &model;
  device.rows_ = options.rows;
  device.slots_ = options.slots;
  device.products_ = products;
  ASSIGN_OR_RETURN(device.embeddings_, DeviceEmbeddings::create(model, options));
  device.describe_layers();
  device.describe_input();
  RETURN_IF_ERROR(device.plan_memory());
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  RETURN_IF_ERROR(cuda::fill_bytes(device.workspace_.data(), 0, device.workspace_.bytes(), stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  return device;
}

Status TabularDevice::check(const TabularModel& model, size_t rows, size_t slots) {
  RETURN_IF_ERROR(DeviceEmbeddings::check(model, rows, slots));
  TabularDevice device;
  device.model_ = &model;
  device.rows_ = rows;
  device.describe_layers();
  const bool is_dot = model.shape().interaction == Interaction::kDot;
  return is_dot ? cuda::check_dot_interaction(device.dot_shape()) : Status::ok();
}

Status TabularDevice::fill_input(const TabularBatch& batch, float scale, uint32_t slot, std::byte* input) const {
  CHECK(batch.rows <= rows_ && slot < slots_);
  CHECK(batch.rows == 0 || batch.label != nullptr);
  const size_t rows = rows_, numeric = model_->shape().numeric;
  std::memcpy(input + input_.scale, &scale, sizeof(scale));
  std::memcpy(input + input_.slot, &slot, sizeof(slot));
  auto floats = [input](size_t place) { return reinterpret_cast<float*>(input + place); };
  // Rows that are not there count nothing.
  auto fill = [&](float* to, const float* from, size_t width) {
    std::copy_n(from, batch.rows * width, to);
    std::fill(to + batch.rows * width, to + rows * width, 0.0F);
  };
  if (batch.weight == nullptr) {
    std::fill_n(floats(input_.weight), batch.rows, 1.0F);
    std::fill(floats(input_.weight) + batch.rows, floats(input_.weight) + rows, 0.0F);
  } else {
    fill(floats(input_.weight), batch.weight, 1);
  }
  fill(floats(input_.label), batch.label, 1);
  fill(floats(input_.numeric), batch.numeric, numeric);
  return embeddings_->fill_words(batch, reinterpret_cast<int32_t*>(input + input_.words));
}

}  // namespace freshet::worker
