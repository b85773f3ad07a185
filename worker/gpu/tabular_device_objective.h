// Training a tabular model on encoded rows on a device: an example is a row. The tables are trained here, row by row,
// by row-wise AdaGrad; only the dense parameters are the trainer's. For one rank: the tables are not shared out.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "worker/data/encoded.h"
#include "worker/gpu/device_objective.h"
#include "worker/gpu/tabular_device.h"
#include "worker/train/options.h"

namespace freshet::worker {

class TabularDeviceObjective final : public DeviceObjective {
 public:
  // For the micro-batches of `options`, whose learning rate is the one that the trainer's schedule varies: that of
  // `adagrad` varies with it. invalid_argument when the rows do not fit the model, resource_exhausted when its tables
  // do not fit the device. The model must outlive it; of the rows it makes a copy of its own. The tables are zero.
  static Result<std::unique_ptr<TabularDeviceObjective>> create(const TabularModel& model, const EncodedRows& rows,
                                                                const TrainOptions& options,
                                                                const kernels::RowwiseAdagradStep& adagrad,
                                                                const cuda::ProductTable& products = {});

  size_t parameters() const override { return model_.dense_parameters(); }
  const std::vector<TensorView>& tensors() const override { return model_.dense_tensors(); }
  size_t examples() const override { return rows_.rows(); }
  size_t input_bytes() const override { return device_->input_bytes(); }
  Status fill_input(const MicroBatch& batch, float scale, std::byte* input) const override;
  Status forward_backward(const std::byte* input, const kernels::Bfloat16* weights, float* gradient, double* loss,
                          cuda::Stream* stream, const PartReady& is_ready) override {
    RETURN_IF_ERROR(device_->forward_backward(input, weights, gradient, loss, stream));
    return is_ready(0);
  }
  DeviceTables* tables() override { return device_->tables()->tables() > 0 ? device_->tables() : nullptr; }
  Status update_tables(const cuda::StepInput* step, const cuda::StepOutput* output, cuda::Stream* stream) override {
    return device_->update_tables({&step->adamw.learning_rate, &output->is_applied}, stream);
  }

 private:
  TabularDeviceObjective(const TabularModel& model, const EncodedRows& rows, cuda::Products products)
      : model_(model), rows_(model.shape(), rows), products_(std::move(products)) {}
  std::unique_ptr<TabularBuffer> take_buffer() const;

  const TabularModel& model_;
  const PackedRows rows_;
  cuda::Products products_;
  std::optional<TabularDevice> device_;
  // Those that no fill_input() is using.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<TabularBuffer>> spare_;
};

}  // namespace freshet::worker
