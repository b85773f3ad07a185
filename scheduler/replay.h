// What the report of a replay means. Pure; any thread.
#pragma once

#include <string>

#include "proto/replay.pb.h"

namespace freshet::scheduler {

// The weights had to be the same, by the same numerics from the same start, and are not.
bool is_refuted(const v1::ReplayReport& report);

// One sentence for people: whether the weights are the same; if not, how far off they are and what may have done it.
std::string explain_replay(const v1::ReplayReport& report);

struct LargestDifference {
  double absolute = 0, relative = 0;
};
LargestDifference largest_difference(const v1::ReplayReport& report);

}  // namespace freshet::scheduler
