// What a training must have to go on from a step with the same bits: where it stands, and the memory that only the
// optimizer's step changes. Plain data, which does not own what it shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "worker/comm/reduce.h"

namespace freshet::worker {

struct Progress {
  uint64_t step = 0;                  // steps done, from the start of the training
  uint64_t pass = 0;                  // the pass over the data that the next step belongs to
  uint64_t cursor = 0;                // and the first position of it that the next step takes
  std::vector<uint64_t> skipped;      // steps whose batch was left out, ascending
  std::vector<double> recent_losses;  // oldest first; as many as the loss-spike guard looks at
};

// The rows of a table of embeddings that a rank owns, and for each the number that row-wise AdaGrad keeps.
struct TableMemory {
  Range rows;
  size_t dim = 0;
  std::span<float> values, sums;
};

// Of one rank: all parameters, and the moments of the segment that it owns. Where there are tables, those are the first
// tensors of the model, and the parameters are all others.
struct TrainingMemory {
  std::span<float> parameters;
  Range segment;
  std::span<float> m, v;
  std::vector<TableMemory> tables;
  // What the objective keeps from step to step, the same on all ranks; empty where none was saved. Null: nothing is.
  std::vector<std::byte>* objective = nullptr;
};

// What a checkpoint takes of one rank: parameters and moments of the segment that it owns, its tables, and of rank 0
// what the objective keeps.
struct TrainingSnapshot {
  Range segment;  // of the parameters but those of tables
  const float* parameters = nullptr;
  const float* m = nullptr;
  const float* v = nullptr;
  std::vector<TableMemory> tables;
  std::span<const std::byte> objective = {};  // what it keeps from step to step, the same on all ranks
  // None: this is the memory that the next update changes. Else it is a copy of it, whole once this has returned (on
  // any thread), that stays until the next snapshot is asked for.
  std::function<Status()> wait;
};

}  // namespace freshet::worker
