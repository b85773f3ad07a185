// AttemptReconciler: drives placed attempts onto their nodes and takes them away. Sends prepare and launch until the
// agent has answered, asks agents to stop what nobody wants any more, and declares a node dead when its lease has
// ended without a word, which fences its attempts. Runs on the control loop.
#pragma once

#include <map>
#include <string>

#include "daemon/control/agent_service.h"
#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"
#include "daemon/store/tables.h"

namespace freshet::control {

class AttemptReconciler final : public Reconciler {
 public:
  AttemptReconciler(Context& context, AgentService& agents) : context_(context), agents_(agents) {}

  std::string_view name() const override { return "attempt"; }
  Time reconcile(Time now) override;

 private:
  Status check_nodes(const Snapshot& snapshot, Time now, Time* wake);
  Status drive(const Snapshot& snapshot, Record<v1::Attempt> attempt, Time now, Time* wake);
  Result<bool> wanted(const Snapshot& snapshot, const v1::Attempt& attempt);
  // Sends at most once a second for the same purpose.
  void send(const std::string& node, const std::string& purpose, const v1::DaemonFrame& frame, Time* wake, Time now);

  Context& context_;
  AgentService& agents_;
  std::map<std::string, Time> last_sent_;  // by purpose, monotonic
};

}  // namespace freshet::control
