// The embedding tables of a recommender in its passes on a device: lookups, and the training of the rows that were
// looked up. Where there are several ranks each table is one rank's (DeviceTables). All ranks know which codes each
// micro-batch has, so before the passes of a step the owners look up their features for all micro-batches and send each
// rank those of its own; behind them the ranks send back the gradients, to where the features came from, and each owner
// moves its rows. With one rank a pass looks up what it needs. The bits do not depend on the number of ranks: rounding,
// the order of a row's lookups and the kernels are the same. One object per rank; one stream at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/embedding_bag.h"
#include "kernels/rowwise_adagrad.h"
#include "worker/gpu/device_communicator.h"
#include "worker/gpu/device_tables.h"
#include "worker/model/tabular.h"

namespace freshet::worker {

struct DeviceEmbeddingsOptions {
  size_t rows = 0;   // of a micro-batch
  size_t slots = 1;  // micro-batches between two updates; ranks have shares of them (share_of)
  // [feature]: of a multi-valued one, the most codes that a micro-batch may have; else not looked at.
  std::vector<size_t> bag_codes_max;
  kernels::RowwiseAdagradStep adagrad;
  DeviceCommunicator* devices = nullptr;  // null: one rank
};

class DeviceEmbeddings {
 public:
  // A table for each categorical feature of the model, which outlives it, as `options.devices` does. resource_exhausted
  // when this rank's do not fit the device. The tables are zero.
  static Result<DeviceEmbeddings> create(const TabularModel& model, const DeviceEmbeddingsOptions& options);
  // invalid_argument for more than the kernels take.
  static Status check(const TabularModel& model, size_t rows, size_t slots);

  DeviceTables* tables() { return &tables_; }

  // The words of a micro-batch in the input of its pass, and those of its lookups in this rank's tables, which is empty
  // with one rank. Filling: invalid_argument for more codes than bag_codes_max. Any thread. `slot`: the micro-batch.
  size_t words_bytes() const { return all_.words * sizeof(int32_t); }
  Status fill_words(const TabularBatch& batch, int32_t* words) const { return fill(all_, batch, words); }
  size_t lookup_bytes() const;
  Status fill_lookups(const TabularBatch& batch, uint32_t slot, std::byte* lookups) const;
  // Whether fill_lookups() looks at a feature.
  bool is_own(size_t feature) const { return tables_.values(feature) != nullptr; }

  // Queues, before the passes of a step: fetches the features of this rank's micro-batches. `lookups`, in device
  // memory: of all micro-batches of the batch. Nothing with one rank.
  Status begin_passes(std::span<const std::byte* const> lookups, cuda::Stream* stream);
  // Queues, of the micro-batch *slot with the words `words` (device memory): out[r], rows of `stride`: its features.
  Status forward(const int32_t* words, const uint32_t* slot, kernels::Bfloat16* out, size_t stride,
                 cuda::CudaStream stream) const;
  // Queues: keeps the gradient of the features, a + b, or a where b is null.
  Status backward(const int32_t* words, const uint32_t* slot, const kernels::Bfloat16* a, const kernels::Bfloat16* b,
                  size_t stride, cuda::CudaStream stream);
  // Queues, behind the passes of a step of `micro_batches`: sends the gradients to the owners of the tables.
  Status end_passes(size_t micro_batches, cuda::Stream* stream);
  // Queues: moves the rows that were looked up since the last call, and forgets those.
  Status update(const cuda::EmbeddingStep& step, cuda::Stream* stream);

 private:
  // Features side by side, and where their codes lie among a micro-batch's words.
  struct Layout {
    std::vector<size_t> features;  // of the model
    cuda::EmbeddingShape shape;
    std::vector<cuda::EmbeddingFeature> described;
    size_t words = 0;
    size_t stride = 0;  // of the features side by side
  };
  DeviceEmbeddings(const TabularModel& model, const DeviceEmbeddingsOptions& options, DeviceTables tables);
  static Layout layout_of(const TabularModel& model, const DeviceEmbeddingsOptions& options,
                          std::vector<size_t> features);
  Status fill(const Layout& layout, const TabularBatch& batch, int32_t* words) const;
  Status allocate();
  Status describe(Layout* layout, cuda::DeviceMemory* described);
  Status describe_parts();
  size_t ranks() const { return strides_.size(); }
  bool are_shared() const { return ranks() > 1 && !all_.features.empty(); }
  // Of `micro_batches`, those that a rank computes.
  Range slots_of(size_t micro_batches, size_t rank) const;
  // Each rank's part of this rank's features, and of this rank's micro-batches those of each owner.
  std::vector<MutableBytes> given(size_t micro_batches) const;
  std::vector<MutableBytes> taken(size_t micro_batches) const;
  cuda::EmbeddingLookups listed() const { return {lists_.data<uint32_t>(), lists_.data<uint32_t>() + list_size()}; }
  size_t list_size() const { return options_.slots * own_.shape.lookups; }

  const TabularModel* model_;
  DeviceEmbeddingsOptions options_;
  size_t rank_ = 0;
  std::vector<size_t> strides_;  // of each rank's features
  DeviceTables tables_;
  Layout all_, own_;
  cuda::DeviceMemory all_described_, own_described_, parts_;
  // Of own features, all examples of a step: first they, then their gradients. And of own examples, for each other
  // rank, its features, in the same way.
  cuda::DeviceMemory pooled_;
  std::vector<cuda::DeviceMemory> taken_;
  cuda::DeviceMemory lists_;  // rows, then places
  cuda::DeviceMemory scratch_;
};

}  // namespace freshet::worker
