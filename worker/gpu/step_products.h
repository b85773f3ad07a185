// The matrix products that a recipe's train step, and scoring what it makes, take on a GPU, for the command that tunes:
// from the recipe alone where that says it all. Plain computation, without a device.
#pragma once

#include <cstddef>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/products.h"
#include "proto/recipe.pb.h"

namespace freshet::worker {

// What only the data and the device tell.
struct StepData {
  size_t vocabulary = 0;   // of a gpt; 0: as many tokens as the recipe wants, which is what enough text gives
  size_t classes = 0;      // of a tabular model with the task MULTICLASS
  bool has_float8 = true;  // of the device: else what computes in FLOAT8 computes in BFLOAT16
};

// Ascending, each once. invalid_argument: the step is the CPU's affair, or `data` lacks something.
Result<std::vector<cuda::ProductShape>> products_of_step(const v1::TrainStep& step, const StepData& data);

}  // namespace freshet::worker
