// PlacementReconciler: asks the pure planner where waiting work goes and commits what still fits. An attempt is born
// here: its epoch, its gang's id and the spec its ranks will get are one commit with the change of the step, so no
// epoch is ever used twice. `plan_waiting` gives the same plan to whoever wants to know why work waits.
#pragma once

#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"
#include "scheduler/plan.h"

namespace freshet::control {

class PlacementReconciler final : public Reconciler {
 public:
  explicit PlacementReconciler(Context& context) : context_(context) {}

  std::string_view name() const override { return "placement"; }
  Time reconcile(Time now) override;

 private:
  Status place_step(const Snapshot& snapshot, const std::string& run_key, const std::string& step,
                    const std::string& node, Time now);
  Status place_inspection(const Snapshot& snapshot, const std::string& key, const std::string& node, Time now);

  Context& context_;
};

// What waits for a place, and the nodes as they are. Keys of steps are "<run key>#<step>", of inspections their own.
Result<scheduler::Snapshot> scheduling_snapshot(const Snapshot& snapshot);
// Nothing is placed while the disk is almost full.
scheduler::Policy placement_policy(const Context& context);
std::string step_item_key(const std::string& run_key, const std::string& step);

}  // namespace freshet::control
