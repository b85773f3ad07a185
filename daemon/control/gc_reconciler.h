// GcReconciler: a round of garbage collection now and then, and soon after new versions, in steps small enough that the
// other loops never wait for it. Runs on the control loop.
#pragma once

#include <optional>

#include "daemon/control/context.h"
#include "daemon/control/gc_round.h"
#include "daemon/control/reconciler.h"

namespace freshet::control {

class GcReconciler final : public Reconciler {
 public:
  GcReconciler(Context& context, GcOptions options) : context_(context), options_(options) {}

  std::string_view name() const override { return "gc"; }
  Time reconcile(Time now) override;

 private:
  Result<uint64_t> count_versions() const;

  Context& context_;
  const GcOptions options_;
  std::optional<GcRound> round_;
  std::optional<Time> due_;  // monotonic: when the next round begins
  uint64_t versions_ = 0;    // of all models, when they were last counted
};

}  // namespace freshet::control
