#include "worker/gpu/tabular_device_objective.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "worker/train/tabular_objective.h"

namespace freshet::worker {
namespace {

// The most codes that so many rows can have together.
size_t codes_max(std::span<const uint32_t> ends, size_t rows) {
  std::vector<uint32_t> sizes;
  for (size_t r = 0; r < ends.size(); ++r) sizes.push_back(ends[r] - (r == 0 ? 0 : ends[r - 1]));
  const auto middle = sizes.begin() + static_cast<ptrdiff_t>(std::min(rows, sizes.size()));
  std::nth_element(sizes.begin(), middle == sizes.end() ? sizes.begin() : middle, sizes.end(), std::greater<>());
  return std::accumulate(sizes.begin(), middle, size_t{0});
}

}  // namespace

Status TabularDeviceObjective::check(const TabularModel& model, const TrainOptions& options) {
  if (!options.embeddings && !model.shape().categorical.empty()) {
    return invalid_argument("AdamW trains its tables; with optimizer.embeddings a GPU does it");
  }
  return TabularDevice::check(model, options.micro_batch_rows, options.micro_batches);
}

Result<std::unique_ptr<TabularDeviceObjective>> TabularDeviceObjective::create(
    const TabularModel& model, const EncodedRows& rows, const TrainOptions& options,
    const kernels::RowwiseAdagradStep& adagrad, const cuda::ProductTable& products, DeviceCommunicator* devices) {
  RETURN_IF_ERROR(check_training_rows(model, rows));
  ASSIGN_OR_RETURN(auto made, cuda::Products::create(products));
  std::unique_ptr<TabularDeviceObjective> objective(new TabularDeviceObjective(model, rows, std::move(made)));
  DeviceEmbeddingsOptions device;
  device.devices = devices;
  device.rows = options.micro_batch_rows;
  device.slots = options.micro_batches;
  device.adagrad = adagrad;
  // end_step() is told the schedule's learning rate.
  device.adagrad.learning_rate /= static_cast<float>(options.learning_rate);
  for (size_t f = 0; f < model.shape().categorical.size(); ++f) {
    const bool is_bag = model.shape().categorical[f].multi_valued;
    device.bag_codes_max.push_back(is_bag ? codes_max(rows.ends[f], device.rows) : 0);
  }
  ASSIGN_OR_RETURN(objective->device_, TabularDevice::create(model, device, &objective->products_));
  return objective;
}

std::unique_ptr<TabularBuffer> TabularDeviceObjective::take_buffer() const {
  std::lock_guard lock(mutex_);
  if (spare_.empty()) return std::make_unique<TabularBuffer>(model_.shape(), device_->rows());
  auto buffer = std::move(spare_.back());
  spare_.pop_back();
  return buffer;
}

Status TabularDeviceObjective::with_rows(
    const MicroBatch& batch, const std::function<bool(size_t feature)>& is_wanted,
    const std::function<Status(const TabularBatch& rows, uint32_t slot)>& use) const {
  auto buffer = take_buffer();
  const size_t slot = batch.first / device_->rows();
  if (batch.examples.size() > device_->rows() || slot >= device_->slots()) {
    return internal("a micro-batch of " + std::to_string(batch.examples.size()) + " rows at row " +
                    std::to_string(batch.first) + ", where " + std::to_string(device_->slots()) + " of " +
                    std::to_string(device_->rows()) + " fit");
  }
  rows_.begin(batch.examples.size(), buffer.get());
  rows_.gather(batch.examples, 0, buffer.get());
  for (size_t feature : rows_.multi_valued()) {
    if (is_wanted(feature)) rows_.gather_bags(feature, batch.examples, buffer.get());
  }
  Status used = use(buffer->batch(0, batch.examples.size()), static_cast<uint32_t>(slot));
  std::lock_guard lock(mutex_);
  spare_.push_back(std::move(buffer));
  return used;
}

Status TabularDeviceObjective::fill_input(const MicroBatch& batch, float scale, std::byte* input) const {
  return with_rows(
      batch, [](size_t) { return true; },
      [&](const TabularBatch& rows, uint32_t slot) { return device_->fill_input(rows, scale, slot, input); });
}

Status TabularDeviceObjective::fill_lookups(const MicroBatch& batch, std::byte* lookups) const {
  const DeviceEmbeddings& embeddings = *device_->embeddings();
  return with_rows(
      batch, [&](size_t feature) { return embeddings.is_own(feature); },
      [&](const TabularBatch& rows, uint32_t slot) { return embeddings.fill_lookups(rows, slot, lookups); });
}

}  // namespace freshet::worker
