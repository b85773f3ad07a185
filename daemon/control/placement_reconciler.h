// PlacementReconciler: asks the pure planner where waiting work goes and commits what still fits. An attempt is born
// here: its epoch, its gang's id and the spec its ranks will get are one commit with the change of the step, so no
// epoch is ever used twice.
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
  Status place_step(const Snapshot& snapshot, const scheduler::Placement& placement, Time now);
  Status place_inspection(const Snapshot& snapshot, const scheduler::Placement& placement, Time now);

  Context& context_;
};

}  // namespace freshet::control
