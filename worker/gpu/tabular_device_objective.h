// Training a tabular model on encoded rows on a device: an example is a row. The tables are trained here, row by row,
// by row-wise AdaGrad; only the dense parameters are the trainer's. Where there are several ranks, each table is one's.
#pragma once

#include <functional>
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
  // invalid_argument, with the reason, for a training that the CPU has to do.
  static Status check(const TabularModel& model, const TrainOptions& options);

  // For the micro-batches of `options`, whose learning rate is the one that the trainer's schedule varies: that of
  // `adagrad` varies with it. invalid_argument when the rows do not fit the model, resource_exhausted when its tables
  // do not fit the device. `devices`: the gang that the tables are shared out over; null: one rank. It and the model
  // must outlive it; of the rows it makes a copy of its own. The tables are zero.
  static Result<std::unique_ptr<TabularDeviceObjective>> create(const TabularModel& model, const EncodedRows& rows,
                                                                const TrainOptions& options,
                                                                const kernels::RowwiseAdagradStep& adagrad,
                                                                const cuda::ProductTable& products = {},
                                                                DeviceCommunicator* devices = nullptr);

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
  DeviceTables* tables() override {
    DeviceTables* tables = device_->embeddings()->tables();
    return tables->tables() > 0 ? tables : nullptr;
  }
  size_t lookup_bytes() const override { return device_->embeddings()->lookup_bytes(); }
  Status fill_lookups(const MicroBatch& batch, std::byte* lookups) const override;
  Status begin_step(const kernels::Bfloat16*, std::span<const std::byte* const> lookups,
                    cuda::Stream* stream) override {
    return device_->embeddings()->begin_passes(lookups, stream);
  }
  Status end_passes(size_t micro_batches, cuda::Stream* stream) override {
    return device_->embeddings()->end_passes(micro_batches, stream);
  }
  Status end_step(const cuda::StepInput* step, const cuda::StepOutput* output, std::span<const std::byte>,
                  cuda::Stream* stream) override {
    return device_->embeddings()->update({&step->adamw.learning_rate, &output->is_applied}, stream);
  }

 private:
  TabularDeviceObjective(const TabularModel& model, const EncodedRows& rows, cuda::Products products)
      : model_(model), rows_(model.shape(), rows), products_(std::move(products)) {}
  // The rows of a micro-batch, of bags only those that are wanted, to `use`, with the micro-batch's number.
  Status with_rows(const MicroBatch& batch, const std::function<bool(size_t feature)>& is_wanted,
                   const std::function<Status(const TabularBatch& rows, uint32_t slot)>& use) const;
  std::unique_ptr<TabularBuffer> take_buffer() const;

  const TabularModel& model_;
  const PackedRows rows_;
  cuda::Products products_;
  std::optional<TabularDevice> device_;
  // Those that nothing is filled from.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<TabularBuffer>> spare_;
};

}  // namespace freshet::worker
