#include "daemon/control/answer_reconciler.h"

#include "base/log.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet::control {
namespace {

constexpr size_t kForgottenAtOnce = 500;
constexpr Duration kRetry = Duration::seconds(60);

}  // namespace

Time AnswerReconciler::reconcile(Time now) {
  if (now < due_) return due_;
  Result<Time> due = forget(now);
  if (due.is_ok()) {
    due_ = *due;
  } else {
    log_warning("answers", due.status().to_string());
    due_ = now + kRetry;
  }
  return due_;
}

Result<Time> AnswerReconciler::forget(Time now) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto oldest, list_references(*snapshot, keys::answers_by_time(), "", kForgottenAtOnce));
  Change change;
  change.actor = "control/answers";
  change.action = "forget old answers";
  Time due = oldest.size() < kForgottenAtOnce ? now + kAnswerKeep : now;  // a full page: there may be more
  for (const auto& reference : oldest) {
    ASSIGN_OR_RETURN(auto kept, require<v1::KeptAnswer>(*snapshot, reference.target, reference.target));
    const Time end = Time{kept.value.answered_us()} + kAnswerKeep;
    if (end > now) {
      due = end;
      break;
    }
    erase(change, reference.key);
    erase(change, reference.target);
  }
  if (change.writes.empty()) return due;
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  return due;
}

}  // namespace freshet::control
