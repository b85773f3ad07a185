// The rank's GPU as the tasks take it. Ranks with a GPU each talk over what `connect` makes (NCCL); without it, or
// where ranks share GPUs, through the host.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/products.h"
#include "worker/gpu/device_communicator.h"
#include "worker/gpu/device_objective.h"
#include "worker/task/accelerator.h"

namespace freshet::worker {

class GpuAccelerator final : public Accelerator {
 public:
  // Joins the devices of a started gang; the result is the caller's, for one training at a time. Null: none.
  using Connect = std::function<Result<DeviceCommunicator*>(Communicator* comm)>;

  // Takes the GPU of the rank `local_rank` among `local_ranks` on this machine. Null where the machine has none.
  // `connect` is used when no rank of the machine shares its GPU. `products`: the file of the table that freshet-tune
  // wrote, of which rank 0's goes to all; empty: the library's first proposals are taken.
  static Result<std::unique_ptr<GpuAccelerator>> create(int local_rank, int local_ranks, Connect connect,
                                                        std::filesystem::path products);

  v1::NumericsFingerprint numerics() const override;
  Status use_products(std::optional<std::string> text) override;
  const std::string& products() const override { return used_products_; }
  Result<std::unique_ptr<StepEngine>> gpt_engine(const GptModel& model, const std::vector<Token>& tokens,
                                                 const TrainOptions& options, Communicator* comm,
                                                 std::span<const float> parameters) override;
  Result<std::unique_ptr<StepEngine>> tabular_engine(const TabularModel& model, const EncodedRows& rows,
                                                     const TrainOptions& options, Communicator* comm,
                                                     std::span<const float> parameters) override;
  bool scores(const GptModel& model) const override;
  // Products that the table lacks, or all where it is another GPU's, are the library's first proposals, as a line in
  // the log says: no training's bits depend on them.
  Result<std::unique_ptr<TextScorer>> text_scorer(const GptModel& model, std::span<const float> parameters) override;

 private:
  GpuAccelerator(int device, std::string device_name, bool has_float8, v1::NumericsFingerprint numerics, bool is_shared,
                 Connect connect, std::filesystem::path products)
      : device_(device),
        device_name_(std::move(device_name)),
        has_float8_(has_float8),
        numerics_(std::move(numerics)),
        is_shared_(is_shared),
        connect_(std::move(connect)),
        node_products_(std::move(products)) {}
  // What rank 0 sends to all: as it was given, or the node's.
  Result<std::string> products_of_rank() const;
  // Collective. Of these shapes alone: what else is tuned on the node does not change a training's numerics.
  Result<cuda::ProductTable> share_products(Communicator* comm, const std::vector<cuda::ProductShape>& shapes);
  // What the node's table has of these.
  Result<cuda::ProductTable> listed_products(const std::vector<cuda::ProductShape>& shapes) const;
  // Owned by this object, or by whoever connects.
  Result<DeviceCommunicator*> devices_of(Communicator* comm);

  const int device_;
  const std::string device_name_;
  const bool has_float8_;
  const v1::NumericsFingerprint numerics_;  // without a table
  const bool is_shared_;
  const Connect connect_;
  const std::filesystem::path node_products_;
  std::optional<std::string> given_products_;
  std::string used_products_;  // the newest engine's or scorer's table; empty: none
  std::unique_ptr<DeviceCommunicator> own_;
  std::unique_ptr<DeviceObjective> objective_;  // of the newest engine
};

}  // namespace freshet::worker
