#include "scheduler/run_graph.h"

#include <algorithm>
#include <map>
#include <set>

namespace freshet::scheduler {
namespace {

using StepState = v1::StepStatus::State;

using StepStates = std::map<std::string, StepState>;

StepStates states_of(const v1::Recipe& recipe, const v1::Run& run) {
  StepStates states;
  for (const auto& step : recipe.steps()) states[step.name()] = v1::StepStatus::WAITING;
  for (const auto& status : run.steps()) {
    if (status.state() != v1::StepStatus::STATE_UNSPECIFIED) states[status.name()] = status.state();
  }
  return states;
}

bool has_failed(StepState state) { return state == v1::StepStatus::FAILED || state == v1::StepStatus::SKIPPED; }

// A step that is needed but not there never succeeds.
StepState state_of(const StepStates& states, const std::string& name) {
  auto found = states.find(name);
  return found == states.end() ? v1::StepStatus::SKIPPED : found->second;
}

// Marks what can't start any more as SKIPPED, through the whole graph, and returns the names.
std::set<std::string> skip_dependents(const v1::Recipe& recipe, StepStates* states) {
  std::set<std::string> skipped;
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& step : recipe.steps()) {
      if (state_of(*states, step.name()) != v1::StepStatus::WAITING) continue;
      bool never = std::any_of(step.needs().begin(), step.needs().end(),
                               [&](const auto& need) { return has_failed(state_of(*states, need)); });
      if (!never) continue;
      (*states)[step.name()] = v1::StepStatus::SKIPPED;
      skipped.insert(step.name());
      changed = true;
    }
  }
  return skipped;
}

}  // namespace

std::vector<std::string> newly_ready(const v1::Recipe& recipe, const v1::Run& run) {
  std::vector<std::string> ready;
  if (is_final(run.state())) return ready;
  auto states = states_of(recipe, run);
  for (const auto& step : recipe.steps()) {
    if (state_of(states, step.name()) != v1::StepStatus::WAITING) continue;
    bool all = std::all_of(step.needs().begin(), step.needs().end(),
                           [&](const auto& need) { return state_of(states, need) == v1::StepStatus::SUCCEEDED; });
    if (all) ready.push_back(step.name());
  }
  return ready;
}

std::vector<std::string> newly_skipped(const v1::Recipe& recipe, const v1::Run& run) {
  auto states = states_of(recipe, run);
  auto skipped = skip_dependents(recipe, &states);
  std::vector<std::string> names;
  for (const auto& step : recipe.steps()) {
    if (skipped.contains(step.name())) names.push_back(step.name());
  }
  return names;
}

v1::Run::State settled_state(const v1::Run& run) {
  if (is_final(run.state())) return run.state();
  auto states = states_of(run.recipe(), run);
  skip_dependents(run.recipe(), &states);
  bool all_final = true;
  bool any_started = false;
  bool any_failed = false;
  bool any_skipped = false;
  for (const auto& [name, state] : states) {
    all_final = all_final && is_final(state);
    any_started = any_started || state == v1::StepStatus::RUNNING || is_final(state);
    any_failed = any_failed || state == v1::StepStatus::FAILED;
    any_skipped = any_skipped || state == v1::StepStatus::SKIPPED;
  }
  if (!all_final) return any_started || run.state() == v1::Run::RUNNING ? v1::Run::RUNNING : v1::Run::QUEUED;
  if (any_failed) return v1::Run::FAILED;
  return any_skipped ? v1::Run::CANCELLED : v1::Run::SUCCEEDED;
}

bool is_final(v1::Run::State state) {
  return state == v1::Run::SUCCEEDED || state == v1::Run::FAILED || state == v1::Run::CANCELLED;
}

bool is_final(v1::StepStatus::State state) {
  return state == v1::StepStatus::SUCCEEDED || state == v1::StepStatus::FAILED || state == v1::StepStatus::SKIPPED;
}

bool is_final(v1::Attempt::State state) {
  return state == v1::Attempt::SUCCEEDED || state == v1::Attempt::FAILED || state == v1::Attempt::LOST ||
         state == v1::Attempt::STOPPED;
}

bool may_move(v1::Run::State from, v1::Run::State to) {
  using v1::Run;
  switch (from) {
    case Run::STATE_UNSPECIFIED:
      return to == Run::QUEUED;
    case Run::QUEUED:  // to SUCCEEDED when all happened between two looks at it
      return to == Run::RUNNING || is_final(to);
    case Run::RUNNING:
      return is_final(to);
    default:
      return false;
  }
}

bool may_move(v1::StepStatus::State from, v1::StepStatus::State to) {
  using v1::StepStatus;
  switch (from) {
    case StepStatus::STATE_UNSPECIFIED:
      return to == StepStatus::WAITING || to == StepStatus::READY;
    case StepStatus::WAITING:
      return to == StepStatus::READY || to == StepStatus::SKIPPED;
    case StepStatus::READY:  // a step without a process (promote) ends from here
      return to == StepStatus::RUNNING || is_final(to);
    case StepStatus::RUNNING:  // back to READY for another attempt; SKIPPED when its run is cancelled
      return to == StepStatus::READY || is_final(to);
    default:
      return false;
  }
}

bool may_move(v1::Attempt::State from, v1::Attempt::State to) {
  using v1::Attempt;
  switch (from) {
    case Attempt::STATE_UNSPECIFIED:
      return to == Attempt::PLACED;
    case Attempt::PLACED:  // a daemon that was away may see the start before the confirmation
      return to == Attempt::PREPARED || to == Attempt::RUNNING || (is_final(to) && to != Attempt::SUCCEEDED);
    case Attempt::PREPARED:
      return to == Attempt::RUNNING || (is_final(to) && to != Attempt::SUCCEEDED);
    case Attempt::RUNNING:
      return is_final(to);
    default:
      return false;
  }
}

}  // namespace freshet::scheduler
