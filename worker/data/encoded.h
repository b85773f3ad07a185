// Rows as the model eats them: one integer code per categorical feature and one standardised float per numeric
// feature, column by column, with the label and the entry each row came from. Plain memory, which may be that of a
// mapped file (see Scratch); owned by the caller; immutable while a training or evaluation reads it from several
// threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/data/scratch.h"

namespace freshet::worker {

struct EncodedRows {
  size_t rows = 0;
  // [feature][row], in the order of the recipe's categorical features. Code 0 is "unknown or missing".
  std::vector<ScratchVector<int32_t>> categorical;
  // [feature], empty for a feature with one code per row; else [row]: where in the feature's codes those of the row
  // end. They begin where the row before ends; a row may have none.
  std::vector<ScratchVector<uint32_t>> ends;
  // [feature][row], in the order of the recipe's numeric features; a missing value is 0 (the mean).
  std::vector<ScratchVector<float>> numeric;
  // BINARY: 0 or 1. REGRESSION: the standardised target (Transform keeps mean and standard deviation). MULTICLASS: the
  // number of the class. Empty when only features were encoded.
  ScratchVector<float> label;
  ScratchVector<float> weight;  // [row]; empty: all count the same
  // Index into `entry_uris` per row.
  ScratchVector<uint32_t> entry;
  std::vector<std::string> entry_uris;
  // Rows of the table that are left out because their label is missing, or of a class that the model doesn't know.
  size_t dropped = 0;
};

}  // namespace freshet::worker
