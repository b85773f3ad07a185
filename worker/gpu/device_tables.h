// The memory of embedding tables that a device trains row by row: their values, and of each row the number that
// row-wise AdaGrad keeps. Each table is one rank's as a whole; the largest are given out first, each to the rank that
// has least by then, so that who owns what follows from the tables and the number of ranks. What moves them is
// DeviceEmbeddings. EmbeddingTables (worker/train) is the CPU's. One object per rank, used on the thread that trains;
// what is done "behind a stream" waits for what was queued there, and has been done when the call returns.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/device.h"
#include "worker/checkpoint/tensors.h"
#include "worker/checkpoint/training_state.h"
#include "worker/comm/communicator.h"
#include "worker/gpu/host_copy.h"

namespace freshet::worker {

class DeviceTables {
 public:
  // `tables`: [rows, dim] each, one after the other from the start of a flat array. All is zero at first.
  // resource_exhausted when this rank's do not fit the device.
  static Result<DeviceTables> create(std::span<const TensorView> tables, int ranks = 1, int rank = 0);

  // Of all ranks: tables, floats and rows in them.
  size_t tables() const { return tables_.size(); }
  size_t elements() const { return elements_; }
  size_t rows() const { return rows_; }
  // That they are shared out over.
  int ranks() const { return ranks_; }
  int owner(size_t table) const { return tables_[table].owner; }

  // [rows][dim] and [rows], in device memory; null where another rank owns the table.
  float* values(size_t table) const { return is_own(table) ? memory_.data<float>() + tables_[table].values : nullptr; }
  float* sums(size_t table) const { return is_own(table) ? memory_.data<float>() + tables_[table].sums : nullptr; }
  // Of this rank, in device memory.
  size_t bytes() const { return memory_.bytes(); }

  // Takes this rank's values from the flat array of all, and forgets what AdaGrad has summed. Behind `stream`.
  Status start(const float* all, cuda::Stream* stream);

  // What lies where in bytes() of the host that are laid out as the device's.
  std::vector<TableMemory> view(float* host) const;
  // Such bytes become the device's. Behind `stream`.
  Status load(const float* host, cuda::Stream* stream);

  // Adds to `snapshot` what the work queued on `stream` makes of the tables: a copy that is made beside what is queued
  // next. Its memory is that of the snapshot before.
  Status snapshot(const cuda::Stream& stream, TrainingSnapshot* snapshot);
  // What is queued on `stream` from here on may change the tables.
  Status wait_for_snapshot(cuda::Stream* stream) { return copy_ ? copy_->hold_back(stream) : Status::ok(); }

  // All values, or all sums, as a flat array on rank 0 (elements() or rows() long; null elsewhere). Behind `stream`;
  // collective.
  Status gather_values(Communicator* comm, cuda::Stream* stream, float* all) const;
  Status gather_sums(Communicator* comm, cuda::Stream* stream, float* all) const;

 private:
  struct Table {
    size_t rows = 0, dim = 0;
    int owner = 0;
    size_t values = 0, sums = 0;  // where they begin in memory_, in floats; of own tables only
  };
  DeviceTables(int ranks, int rank) : ranks_(ranks), rank_(rank) {}
  bool is_own(size_t table) const { return tables_[table].owner == rank_; }
  void share_out();
  Status gather(size_t table, const float* own, size_t count, Communicator* comm, cuda::Stream* stream,
                float* all) const;

  int ranks_, rank_;
  std::vector<Table> tables_;
  size_t elements_ = 0, rows_ = 0;
  cuda::DeviceMemory memory_;
  std::unique_ptr<HostCopy> copy_;  // made with the first snapshot
};

}  // namespace freshet::worker
