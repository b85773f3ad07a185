// One file of a checkpoint, as safetensors: a range of the flat parameters with both moments, or rows of a table of
// embeddings with what row-wise AdaGrad keeps for them. A tensor that is there as a whole has its own name and shape; a
// part of one is "NAME[begin:end]", of its elements in row-major order. The moments are "optim.m." and "optim.v." and
// the same, AdaGrad's numbers "optim.sum.". So files written by any number of ranks join to the same tensors. Blocking;
// any thread.
#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "worker/checkpoint/tensors.h"
#include "worker/checkpoint/training_state.h"
#include "worker/comm/reduce.h"

namespace freshet::worker {

// The values of `range`, each range.size() floats.
struct ShardValues {
  Range range;
  const float* parameters = nullptr;
  const float* m = nullptr;
  const float* v = nullptr;
};

// The file's name says which elements it holds: "elements-000000000000-000000004096.safetensors".
std::string shard_name(Range range);

// Creates the file in `directory` and syncs it, not its name. kCancelled soon after `stop` was set.
Result<v1::ArtifactFile> write_shard(const std::filesystem::path& directory, const std::vector<TensorView>& tensors,
                                     const ShardValues& values, const std::atomic<bool>& stop);

// Rows of a table: [row][dim] values, and a sum for each.
struct TableRows {
  Range rows;
  size_t dim = 0;
  const float* values = nullptr;
  const float* sums = nullptr;
};

// As write_shard, of rows of `table`.
Result<v1::ArtifactFile> write_table_shard(const std::filesystem::path& directory, const TensorView& table,
                                           const TableRows& rows, const std::atomic<bool>& stop);

// Where the values of shards go, and which have come.
class ShardTarget {
 public:
  // All parameters, and the moments of the own segment (those of others are passed over); of tables, the own rows. Both
  // must outlive it.
  ShardTarget(const std::vector<TensorView>& tensors, const TrainingMemory& memory);

  // Any thread, several files at a time. kCorrupt: no valid file, or a tensor that the model does not have.
  Status read(const std::filesystem::path& file);
  // kCorrupt unless every element of every tensor has come exactly once.
  Status check_complete();

 private:
  struct Place {
    Range range;  // among the kind's elements
    float* values = nullptr;
  };
  struct Kind {
    std::string prefix;
    const std::vector<TensorView>* tensors;
    Range whole;                // of the tensors' elements, all that must come
    std::vector<Place> wanted;  // the parts that are kept
    std::vector<Range> arrived;
  };
  static Result<Range> place_of(const std::vector<TensorView>& tensors, const std::string& name,
                                const std::vector<uint64_t>& shape);
  const std::vector<TensorView>& tensors_;
  std::vector<TensorView> row_sums_;  // of each table, a number a row
  std::mutex mutex_;                  // of what has arrived
  std::vector<Kind> kinds_;
};

}  // namespace freshet::worker
