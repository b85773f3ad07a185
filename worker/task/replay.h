// What the replay task says of two sets of weights. The training itself is that of the train task. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "proto/replay.pb.h"
#include "worker/checkpoint/tensors.h"

namespace freshet::worker {

// One for each of `tensors` (flat float arrays, laid out by them) that is not the same bits in both. The difference of
// two values that are not both finite is infinite.
std::vector<v1::TensorDifference> tensor_differences(const std::vector<TensorView>& tensors,
                                                     const std::vector<float>& recorded,
                                                     const std::vector<float>& replayed);

}  // namespace freshet::worker
