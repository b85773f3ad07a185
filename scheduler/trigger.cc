#include "scheduler/trigger.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "scheduler/cron.h"
#include "scheduler/text.h"

namespace freshet::scheduler {
namespace {

using Kind = TriggerDecision::Kind;

// A due time this recent has not been missed.
constexpr Duration kOnTime = Duration::seconds(60);
// A stored time this far ahead means that the clock was set back, not that the time is to be waited for.
constexpr Duration kClockJump = Duration::seconds(24 * 3600);
constexpr int kDueTimesCountedMax = 1000;

TriggerDecision decision_of(Kind kind, const v1::TriggerState& state, std::string reason,
                            Time wake_at = Time::never()) {
  TriggerDecision decision{kind, wake_at, std::move(reason), state};
  decision.state.set_last_decision(decision.reason);
  return decision;
}

TriggerDecision fire(const v1::TriggerState& state, Time now, std::string reason, Time wake_at = Time::never()) {
  auto decision = decision_of(Kind::kFire, state, std::move(reason), wake_at);
  decision.state.set_last_fired_us(now.us);
  decision.state.set_fired(state.fired() + 1);
  return decision;
}

TriggerDecision evaluate_new_data(const v1::NewData& spec, const TriggerObservation& seen,
                                  const v1::TriggerState& state, Time now) {
  if (seen.new_entries == 0) {
    return decision_of(Kind::kNothing, state,
                       seen.inspecting ? "entries that arrived are being inspected"
                                       : "no entry has been accepted since the last firing");
  }
  std::string have = counted(seen.new_entries, "new entry") + " with " + counted(seen.new_rows, "row");
  if (seen.new_rows < spec.min_rows()) {
    return decision_of(Kind::kWait, state, have + "; at least " + counted(spec.min_rows(), "row") + " are needed");
  }
  if (seen.new_entries < spec.min_entries()) {
    return decision_of(Kind::kWait, state, have + "; at least " + counted(spec.min_entries(), "entry") + " are needed");
  }
  if (seen.inspecting) return decision_of(Kind::kWait, state, have + "; more entries are being inspected");
  if (seen.run_active) return decision_of(Kind::kWait, state, have + "; a run of the pipeline is active");
  Duration debounce = Duration::millis(spec.debounce_ms());
  Time quiet_at = seen.newest_arrival + debounce;
  if (now < quiet_at && seen.newest_arrival <= now + debounce) {
    return decision_of(Kind::kWait, state,
                       have + "; nothing must arrive for " + std::to_string(spec.debounce_ms()) + " ms", quiet_at);
  }
  auto decision = fire(state, now, have);
  decision.state.set_entries_consumed(std::max<uint64_t>(state.entries_consumed(), seen.newest_order));
  return decision;
}

std::string short_commit(const std::string& commit) { return commit.substr(0, 12); }

// Whether the path is the prefix or lies below it.
bool lies_under(std::string_view path, std::string_view prefix) {
  while (prefix.starts_with("./")) prefix.remove_prefix(2);
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (prefix.empty() || prefix == ".") return true;
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

const std::string* first_matching(const v1::NewCommit& spec, const std::vector<std::string>& changed) {
  for (const auto& path : changed) {
    if (spec.paths().empty()) return &path;
    for (const auto& prefix : spec.paths()) {
      if (lies_under(path, prefix)) return &path;
    }
  }
  return nullptr;
}

TriggerDecision evaluate_new_commit(const v1::NewCommit& spec, const TriggerObservation& seen,
                                    const v1::TriggerState& state, Time now) {
  if (seen.head_commit.empty()) {
    return decision_of(Kind::kNothing, state, "the head of source " + spec.source() + " is not known yet");
  }
  std::string head = "commit " + short_commit(seen.head_commit);
  if (seen.head_commit == state.last_commit()) {
    return decision_of(Kind::kNothing, state, head + " has been seen; no newer one");
  }
  auto record_head = [&](TriggerDecision decision) {
    decision.state.set_last_commit(seen.head_commit);
    return decision;
  };
  if (state.last_commit().empty() || seen.first_commit) {
    return record_head(decision_of(Kind::kNothing, state, head + " is where watching starts"));
  }
  const std::string* path = first_matching(spec, seen.changed_paths);
  if (path == nullptr) {
    std::vector<std::string> prefixes(spec.paths().begin(), spec.paths().end());
    return record_head(decision_of(Kind::kNothing, state,
                                   head + " changes " + counted(seen.changed_paths.size(), "file") +
                                       (prefixes.empty() ? "" : ", none under " + joined(prefixes))));
  }
  std::string what = head + " changes " + *path;
  if (seen.changed_paths.size() > 1) what += " and " + counted(seen.changed_paths.size() - 1, "other file");
  if (seen.run_active) return decision_of(Kind::kWait, state, what + "; a run of the pipeline is active");
  return record_head(fire(state, now, what));
}

struct DueTimes {
  int count = 0;  // in (after, now], at most kDueTimesCountedMax + 1
  Time newest;
};

DueTimes due_times(const CronSchedule& schedule, Time after, Time now) {
  DueTimes due;
  for (Time at = schedule.next_after(after); at <= now && due.count <= kDueTimesCountedMax;
       at = schedule.next_after(at)) {
    ++due.count;
    due.newest = at;
  }
  if (due.count <= kDueTimesCountedMax) return due;
  // Too many to walk through: find the newest from the near end.
  for (int64_t hours = 1;; hours *= 24) {
    Time at = schedule.next_after(now - Duration::seconds(hours * 3600));
    if (at > now) continue;
    for (; at <= now; at = schedule.next_after(at)) due.newest = at;
    return due;
  }
}

TriggerDecision evaluate_cron(const v1::Cron& spec, bool paused, const TriggerObservation& seen,
                              const v1::TriggerState& state, Time now) {
  auto schedule = CronSchedule::parse(spec.schedule());
  if (!schedule.is_ok()) return decision_of(Kind::kNothing, state, schedule.status().message());
  Time next = schedule->next_after(now);
  std::string then = "next due " + to_iso8601(next);
  auto record = [](TriggerDecision decision, Time due) {
    decision.state.set_last_due_us(due.us);
    return decision;
  };
  Time last{state.last_due_us()};
  if (!last.is_set()) return record(decision_of(Kind::kNothing, state, then, next), now);
  if (last > now + kClockJump) {
    return record(decision_of(Kind::kNothing, state,
                              "the clock was set back: due times up to " + to_iso8601(last) +
                                  " are settled, and those from now on count again; " + then,
                              next),
                  now);
  }
  DueTimes due = due_times(*schedule, last, now);
  if (due.count == 0) return decision_of(Kind::kNothing, state, (paused ? "paused; " : "") + then, next);
  if (paused) return record(decision_of(Kind::kNothing, state, "paused; " + then, next), due.newest);
  std::string at = "due at " + to_iso8601(due.newest);
  if (seen.run_active) {
    // Exactly the newest stays pending, however many pass.
    return record(decision_of(Kind::kWait, state, at + "; a run of the pipeline is active", next),
                  due.newest - Duration::micros(1));
  }
  bool missed = due.count > 1 && now - due.newest > kOnTime;
  std::string count =
      due.count > kDueTimesCountedMax ? "more than " + std::to_string(kDueTimesCountedMax) : std::to_string(due.count);
  if (missed && spec.catch_up() == v1::Cron::SKIP) {
    return record(decision_of(Kind::kNothing, state, count + " due times were missed and skipped; " + then, next),
                  due.newest);
  }
  if (due.count > 1) at += ", once for " + count + " due times";
  return record(fire(state, now, at, next), due.newest);
}

}  // namespace

TriggerDecision evaluate_trigger(const v1::TriggerSpec& spec, const TriggerObservation& observation,
                                 const v1::TriggerState& state, Time now) {
  if (spec.condition_case() == v1::TriggerSpec::kCron) {
    return evaluate_cron(spec.cron(), spec.paused(), observation, state, now);
  }
  if (spec.paused()) return decision_of(Kind::kNothing, state, "paused");
  switch (spec.condition_case()) {
    case v1::TriggerSpec::kNewData:
      return evaluate_new_data(spec.new_data(), observation, state, now);
    case v1::TriggerSpec::kNewCommit:
      return evaluate_new_commit(spec.new_commit(), observation, state, now);
    default:
      return decision_of(Kind::kNothing, state, "the trigger has no condition");
  }
}

}  // namespace freshet::scheduler
