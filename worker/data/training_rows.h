// The rows that a tabular model is trained on, from a stream of their raw columns: read once to fit the transform and
// once more to encode. What is in memory meanwhile is a few batches, the vocabularies, and the encoded rows, which lie
// in a Scratch. The same bits for any number of threads.
#pragma once

#include <memory>

#include "base/status.h"
#include "proto/recipe.pb.h"
#include "worker/data/encoded.h"
#include "worker/data/scratch.h"
#include "worker/data/table_stream.h"
#include "worker/data/transform.h"

namespace freshet::worker {

struct TrainingRows {
  Transform transform;
  EncodedRows rows;
};

// The stream must have been opened with training_columns(model). Errors: see Transform::fit and TableStream;
// resource_exhausted when the rows do not fit into `scratch`.
Result<TrainingRows> prepare_rows(const v1::TabularModel& model, const TableStream& stream, const Transform* previous,
                                  const std::shared_ptr<Scratch>& scratch, unsigned threads);

}  // namespace freshet::worker
