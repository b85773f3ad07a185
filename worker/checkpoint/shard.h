// One file of a checkpoint: a range of the flat parameters with both moments, as safetensors. A tensor that lies wholly
// in the range has its own name and shape; a part of one is "NAME[begin:end]", of its elements in row-major order. The
// moments are "optim.m." and "optim.v." and the same. So files written by any number of ranks join to the same tensors.
// Blocking; any thread.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "worker/checkpoint/tensors.h"
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

// Where the values of shards go, and which have come.
class ShardTarget {
 public:
  // All parameters, and the moments of `segment` (those of others are passed over).
  ShardTarget(const std::vector<TensorView>& tensors, float* parameters, Range segment, float* m, float* v);

  // kCorrupt: no valid file, or a tensor that the model does not have.
  Status read(const std::filesystem::path& file);
  // kCorrupt unless every element of every tensor has come exactly once.
  Status check_complete();

 private:
  struct Kind {
    std::string prefix;
    float* values;
    Range wanted;                // of the flat parameters; values[0] is its first element
    std::vector<Range> arrived;  // of the flat parameters
  };
  Result<Range> place_of(const std::string& name, const std::vector<uint64_t>& shape) const;
  const std::vector<TensorView>& tensors_;
  std::vector<Kind> kinds_;
};

}  // namespace freshet::worker
