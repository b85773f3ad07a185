// What a training must have to go on from a step with the same bits: where it stands, and the memory that only the
// optimizer's step changes. Plain data; TrainingMemory does not own what it shows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/comm/reduce.h"

namespace freshet::worker {

struct Progress {
  uint64_t step = 0;                  // steps done, from the start of the training
  uint64_t pass = 0;                  // the pass over the data that the next step belongs to
  uint64_t cursor = 0;                // and the first position of it that the next step takes
  std::vector<uint64_t> skipped;      // steps whose batch was left out, ascending
  std::vector<double> recent_losses;  // oldest first; as many as the loss-spike guard looks at
};

// Of one rank: all parameters, and the moments of the segment that it owns.
struct TrainingMemory {
  std::span<float> parameters;
  Range segment;
  std::span<float> m, v;
};

}  // namespace freshet::worker
