// AnswerReconciler: forgets the kept answers that are older than kAnswerKeep, some at a time. Runs on the control loop.
#pragma once

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"

namespace freshet::control {

class AnswerReconciler final : public Reconciler {
 public:
  explicit AnswerReconciler(Context& context) : context_(context) {}

  std::string_view name() const override { return "answers"; }
  Time reconcile(Time now) override;

 private:
  Result<Time> forget(Time now);

  Context& context_;
  Time due_;  // of the oldest answer there was at the last look; every newer one is due later
};

}  // namespace freshet::control
