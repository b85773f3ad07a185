// The graph of a run: which steps may start, which can't any more, and how the run stands. Also the moves that the
// states of runs, steps and attempts allow. Pure; any thread. It changes no record: control's run loop writes what it
// says.
#pragma once

#include <string>
#include <vector>

#include "proto/attempt.pb.h"
#include "proto/recipe.pb.h"
#include "proto/run.pb.h"

namespace freshet::scheduler {

// WAITING steps whose needs have all succeeded, in the recipe's order. A step without a status counts as WAITING. None
// once the run has ended.
std::vector<std::string> newly_ready(const v1::Recipe& recipe, const v1::Run& run);

// WAITING steps that need, directly or not, one that failed or was skipped, in the recipe's order.
std::vector<std::string> newly_skipped(const v1::Recipe& recipe, const v1::Run& run);

// The state that the run's steps (of run.recipe) imply. A run that has ended stays so. SUCCEEDED when all steps have;
// FAILED when one has failed and all others have ended or never can start; CANCELLED when steps were skipped though
// none failed; RUNNING once any step has moved past READY; else QUEUED.
v1::Run::State settled_state(const v1::Run& run);

// Whether the state has no way out.
bool is_final(v1::Run::State state);
bool is_final(v1::StepStatus::State state);
bool is_final(v1::Attempt::State state);

// Whether a record may go from one state to the other. Staying is not a move (false). From STATE_UNSPECIFIED only the
// states in which a record is created can be reached.
bool may_move(v1::Run::State from, v1::Run::State to);
bool may_move(v1::StepStatus::State from, v1::StepStatus::State to);
bool may_move(v1::Attempt::State from, v1::Attempt::State to);

}  // namespace freshet::scheduler
