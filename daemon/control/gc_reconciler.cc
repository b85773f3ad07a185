#include "daemon/control/gc_reconciler.h"

#include <algorithm>

#include "base/log.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/model.pb.h"

namespace freshet::control {
namespace {

// After the start, after new versions and after a failure: soon, but what is more pressing comes first.
constexpr Duration kSoon = Duration::seconds(60);

}  // namespace

Time GcReconciler::reconcile(Time now) {
  const Time monotonic = context_.clock.monotonic();
  const Duration soon = std::min(options_.interval, kSoon);
  if (!due_) due_ = monotonic + soon;
  if (!round_) {
    auto versions = count_versions();
    if (versions.is_ok() && *versions != versions_) {
      versions_ = *versions;
      due_ = std::min(*due_, monotonic + soon);
    }
    if (monotonic < *due_) return now + (*due_ - monotonic);
    round_.emplace(context_, options_, "control/gc", "");
  }
  auto is_over = round_->step(now);
  if (is_over.is_ok() && !*is_over) return now;
  const Status ended = is_over.is_ok() ? context_.commit(round_->end(now)).status() : is_over.status();
  if (!ended.is_ok()) log_warning("gc", ended.to_string() + "; the next round goes on");
  round_.reset();
  const Duration wait = ended.is_ok() ? options_.interval : soon;
  due_ = monotonic + wait;
  return now + wait;
}

Result<uint64_t> GcReconciler::count_versions() const {
  ASSIGN_OR_RETURN(auto models, list<v1::Model>(*context_.store.snapshot(), keys::models()));
  uint64_t count = 0;
  for (const auto& model : models) count += model.value.latest_version();
  return count;
}

}  // namespace freshet::control
