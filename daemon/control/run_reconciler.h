// RunReconciler: moves runs and inspections along. It makes steps ready when what they need has succeeded, reads how
// their attempts ended, retries or fails them, applies the gates and registers and promotes the candidate, and settles
// the run. Every step it takes is one commit with preconditions on what it read. Runs on the control loop.
#pragma once

#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"
#include "daemon/store/tables.h"
#include "proto/dataset.pb.h"
#include "proto/run.pb.h"

namespace freshet::control {

class RunReconciler final : public Reconciler {
 public:
  explicit RunReconciler(Context& context) : context_(context) {}

  std::string_view name() const override { return "run"; }
  Time reconcile(Time now) override;

 private:
  Status advance_run(const Snapshot& snapshot, Record<v1::Run> run, Time now);
  Status advance_inspection(const Snapshot& snapshot, Record<v1::Inspection> inspection, Time now);

  Context& context_;
};

}  // namespace freshet::control
