// TriggerReconciler: observes what each trigger watches, asks the pure condition (scheduler/trigger.h), and when it
// fires creates one run. The run and the state that the firing consumed are one commit, so that a crash between two
// firings neither loses nor repeats one. Runs on the control loop.
#pragma once

#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"
#include "scheduler/trigger.h"

namespace freshet::control {

class TriggerReconciler final : public Reconciler {
 public:
  explicit TriggerReconciler(Context& context) : context_(context) {}

  std::string_view name() const override { return "trigger"; }
  Time reconcile(Time now) override;

 private:
  Result<Time> reconcile_one(const v1::TriggerRecord& trigger, Time now);
  Result<scheduler::TriggerObservation> observe(const Snapshot& snapshot, const v1::Trigger& trigger,
                                                const v1::PipelineRecord& pipeline, const v1::TriggerState& state);

  Context& context_;
};

}  // namespace freshet::control
