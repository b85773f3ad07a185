// Whether a trigger fires: a pure function of its spec, what was observed, its stored state and the time. Called by
// control's trigger loop, which makes the observation and stores the returned state in the same batch as the run it
// creates, so a firing happens once. Any thread. It reads no source and creates no run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.h"
#include "proto/pipeline.pb.h"
#include "proto/record.pb.h"

namespace freshet::scheduler {

struct TriggerObservation {
  // new_data: accepted entries of the input whose order is above state.entries_consumed.
  uint64_t new_entries = 0;
  uint64_t new_rows = 0;
  uint64_t newest_order = 0;  // highest order among all accepted entries
  Time newest_arrival;        // when the newest entry in any state was observed, for the debounce
  bool inspecting = false;    // entries are still to be judged
  bool run_active = false;    // a run of this pipeline is queued or running

  // new_commit: empty while the source's head is not known.
  std::string head_commit;
  std::vector<std::string> changed_paths;  // between state.last_commit and the head
  bool first_commit = false;               // there is no last_commit to compare with
};

struct TriggerDecision {
  enum class Kind {
    kFire,     // create a run and store `state` with it
    kWait,     // something is pending; look again at wake_at or when an observation changes
    kNothing,  // nothing is pending; wake_at may still be set (cron's next due time)
  };
  Kind kind = Kind::kNothing;
  Time wake_at = Time::never();
  std::string reason;      // a sentence for a person; also state.last_decision
  v1::TriggerState state;  // what to store; equal to the given state when nothing changed
};

// new_data fires when enough was accepted, nothing is being inspected, nothing arrived for the debounce and no run of
// the pipeline is active. min_rows and min_entries must both be reached; without either one entry is enough. new_commit
// records the first head that it sees (applying a pipeline is no commit) and fires for a later one that changes a file
// at or below one of the paths (whole components: "model" does not match "models/x"). cron fires at each due time. The
// first evaluation only records the time. Due times that pass while a run is active become one firing after it. When
// several have passed unseen, and the newest more than a minute ago, catch_up decides. A clock that is set back by up
// to a day repeats none; by more, due times count again from now on, else an error of the clock would silence the
// trigger for as long, and the state says so. The caller sets project, name and last_run_id of the state.
TriggerDecision evaluate_trigger(const v1::TriggerSpec& spec, const TriggerObservation& observation,
                                 const v1::TriggerState& state, Time now);

}  // namespace freshet::scheduler
