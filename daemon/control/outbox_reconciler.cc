#include "daemon/control/outbox_reconciler.h"

#include <algorithm>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/control/outbox.h"
#include "daemon/store/keys.h"

namespace freshet::control {
namespace {

constexpr Duration kRetry = Duration::seconds(1);
constexpr Duration kPauseMax = Duration::seconds(3600);
constexpr size_t kLookAhead = 200;  // events looked at, and removed, in one step
constexpr int kRecentMax = 20;
constexpr size_t kDeadLettersMax = 1000;

std::string state_key(const v1::Metadata& metadata) { return keys::webhook_state(metadata.project(), metadata.name()); }

void note_attempt(const v1::Event& event, uint32_t number, const WebhookOutcome& outcome, Time now,
                  v1::WebhookState* state) {
  state->set_last_error(outcome.error);
  if (outcome.error.empty()) {
    state->set_delivered(state->delivered() + 1);
  } else {
    state->set_failed(state->failed() + 1);
  }
  v1::WebhookAttempt* attempt = state->add_recent();
  attempt->set_event_id(event.id());
  attempt->set_event_type(event.type());
  attempt->set_time_us(now.us);
  attempt->set_attempt(number);
  attempt->set_status(outcome.status);
  attempt->set_error(outcome.error);
  attempt->set_took_us(outcome.took.us);
  while (state->recent_size() > kRecentMax) state->mutable_recent()->DeleteSubrange(0, 1);
}

void pass_event(const std::string& event_key, v1::WebhookState* state) {
  state->set_cursor(event_key);
  state->set_attempts(0);
  state->set_next_attempt_us(0);
}

}  // namespace

Time OutboxReconciler::reconcile(Time now) {
  Time wake = Time::never();
  auto note = [&](const Status& status, const std::string& what) {
    if (status.is_ok()) return;
    if (status.code() != Code::kConflict) log_warning("outbox", what + ": " + status.to_string());
    wake = std::min(wake, now + kRetry);
  };
  // An outcome that cannot be stored is dropped: the event is then sent once more.
  for (const auto& outcome : sender_.take_outcomes()) note(settle(outcome, now), "outcome of a delivery");
  auto snapshot = context_.store.snapshot();
  auto webhooks = list<v1::WebhookRecord>(*snapshot, keys::webhooks());
  note(webhooks.status(), "webhooks");
  if (!webhooks.is_ok()) return wake;
  for (const auto& webhook : *webhooks) {
    note(advance(*snapshot, webhook, now, &wake), "webhook " + webhook.value.webhook().metadata().name());
  }
  note(forget_delivered(*context_.store.snapshot(), *webhooks), "delivered events");
  return wake;
}

Status OutboxReconciler::settle(const WebhookOutcome& outcome, Time now) {
  auto found = under_way_.find(outcome.ticket);
  if (found == under_way_.end()) return Status::ok();
  const UnderWay sent = std::move(found->second);
  under_way_.erase(found);
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto webhook, require<v1::WebhookRecord>(*snapshot, sent.webhook_key, sent.webhook_key));
  const v1::Metadata& metadata = webhook.value.webhook().metadata();
  ASSIGN_OR_RETURN(auto state, require<v1::WebhookState>(*snapshot, state_key(metadata), "its state"));
  Change change;
  change.actor = "control/outbox";
  change.action = (outcome.error.empty() ? "delivered to webhook " : "failed at webhook ") + metadata.name();
  change.reason = outcome.error;
  if (sent.is_dead_letter) {
    RETURN_IF_ERROR(settle_dead_letter(*snapshot, sent, outcome, now, &state.value, &change));
  } else {
    RETURN_IF_ERROR(settle_event(*snapshot, sent, webhook.value.webhook(), outcome, now, &state, &change));
  }
  update(change, state);
  CRASH_POINT("outbox.outcome.before_commit");
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  CRASH_POINT("outbox.outcome.after_commit");
  return Status::ok();
}

Status OutboxReconciler::settle_event(const Snapshot& snapshot, const UnderWay& sent, const v1::Webhook& webhook,
                                      const WebhookOutcome& outcome, Time now, Record<v1::WebhookState>* record,
                                      Change* change) {
  v1::WebhookState& state = record->value;
  ASSIGN_OR_RETURN(auto event, require<v1::Event>(snapshot, sent.event_key, sent.event_key));
  note_attempt(event.value, sent.attempt, outcome, now, &state);
  state.set_applied_us(sent.applied_us);
  if (outcome.error.empty()) {
    pass_event(sent.event_key, &state);
    return Status::ok();
  }
  const v1::WebhookSpec& spec = webhook.spec();
  const Duration age = now - Time{event.value.time_us()};
  if (sent.attempt < spec.max_attempts() && age < Duration::seconds(spec.max_age_s())) {
    state.set_attempts(sent.attempt);
    state.set_next_attempt_us((now + pause_before(sent.attempt + 1, spec)).us);
    return Status::ok();
  }
  v1::DeadLetter letter;
  *letter.mutable_event() = event.value;
  letter.set_webhook(state.name());
  letter.set_reason(outcome.error);
  letter.set_attempts(sent.attempt);
  letter.set_died_us(now.us);
  put(*change, keys::dead_letter(state.project(), state.name(), sent.event_key), letter);
  state.set_dead(state.dead() + 1);
  pass_event(sent.event_key, &state);
  log_warning("outbox", "webhook " + state.name() + " has not taken event " + event.value.id() + " after " +
                            std::to_string(sent.attempt) + " attempts: " + outcome.error);
  const std::string letters = keys::dead_letters(state.project(), state.name());
  ASSIGN_OR_RETURN(auto kept, list<v1::DeadLetter>(snapshot, letters, "", kDeadLettersMax));
  if (kept.size() == kDeadLettersMax) erase(*change, kept.front().key);
  return Status::ok();
}

Status OutboxReconciler::settle_dead_letter(const Snapshot& snapshot, const UnderWay& sent,
                                            const WebhookOutcome& outcome, Time now, v1::WebhookState* state,
                                            Change* change) {
  const std::string key = keys::dead_letter(state->project(), state->name(), sent.event_key);
  ASSIGN_OR_RETURN(auto letter, require<v1::DeadLetter>(snapshot, key, key));
  note_attempt(letter.value.event(), sent.attempt, outcome, now, state);
  erase(*change, keys::redelivery(state->project(), state->name(), sent.event_key));
  if (outcome.error.empty()) {
    expect(*change, letter);
    erase(*change, letter.key);
    return Status::ok();
  }
  letter.value.set_reason(outcome.error);
  letter.value.set_attempts(sent.attempt);
  update(*change, letter);
  return Status::ok();
}

Status OutboxReconciler::advance(const Snapshot& snapshot, const Record<v1::WebhookRecord>& webhook, Time now,
                                 Time* wake) {
  const v1::Metadata& metadata = webhook.value.webhook().metadata();
  auto is_its = [&](const auto& sent) { return sent.second.webhook_key == webhook.key; };
  if (std::any_of(under_way_.begin(), under_way_.end(), is_its)) return Status::ok();
  ASSIGN_OR_RETURN(auto state, require<v1::WebhookState>(snapshot, state_key(metadata), "its state"));

  // What somebody asked to have delivered after all goes first, so that a webhook that stands still can be tried.
  ASSIGN_OR_RETURN(auto asked,
                   list_references(snapshot, keys::redeliveries(metadata.project(), metadata.name()), "", 1));
  if (!asked.empty()) return redeliver(snapshot, webhook, asked[0]);

  // Another spec may be taken where the former was not.
  const bool is_changed = state.value.applied_us() != webhook.value.applied_us();
  ASSIGN_OR_RETURN(auto events, list<v1::Event>(snapshot, keys::outbox(), state.value.cursor(), kLookAhead));
  const std::string before = state.value.cursor();
  for (const auto& event : events) {
    if (wants(webhook.value.webhook(), event.value)) {
      const Time due{is_changed ? 0 : state.value.next_attempt_us()};
      if (due > now) {
        *wake = std::min(*wake, due);
      } else {
        const uint32_t before_it = is_changed ? 0 : state.value.attempts();
        send(webhook, event.value, {webhook.key, event.key, false, before_it + 1, webhook.value.applied_us()});
      }
      break;
    }
    pass_event(event.key, &state.value);
  }
  if (state.value.cursor() == before) return Status::ok();
  Change change;
  change.actor = "control/outbox";
  change.action = "pass events that webhook " + metadata.name() + " has not asked for";
  update(change, state);
  CRASH_POINT("outbox.pass.before_commit");
  return context_.commit(std::move(change)).status();
}

Status OutboxReconciler::redeliver(const Snapshot& snapshot, const Record<v1::WebhookRecord>& webhook,
                                   const Reference& asked) {
  ASSIGN_OR_RETURN(auto letter, get<v1::DeadLetter>(snapshot, asked.target));
  if (letter) {
    send(webhook, letter->value.event(),
         {webhook.key, keys::last_part(asked.key), true, letter->value.attempts() + 1, webhook.value.applied_us()});
    return Status::ok();
  }
  Change change;
  change.actor = "control/outbox";
  change.action = "drop the wish for a dead letter that is gone";
  erase(change, asked.key);
  return context_.commit(std::move(change)).status();
}

void OutboxReconciler::send(const Record<v1::WebhookRecord>& webhook, const v1::Event& event, UnderWay sent) {
  WebhookDelivery delivery;
  delivery.ticket = next_ticket_++;
  delivery.spec = webhook.value.webhook().spec();
  delivery.event_id = event.id();
  delivery.event_type = event.type();
  delivery.body = cloud_event(event);
  under_way_.emplace(delivery.ticket, std::move(sent));
  CRASH_POINT("outbox.event.before_send");
  sender_.send(std::move(delivery));
  CRASH_POINT("outbox.event.after_send");
}

// Doubled from attempt to attempt; of each pause the second half is drawn, so that webhooks which failed together do
// not come back together.
Duration OutboxReconciler::pause_before(uint32_t attempt, const v1::WebhookSpec& spec) {
  Duration pause = Duration::millis(spec.retry_ms());
  for (uint32_t i = 2; i < attempt && pause < kPauseMax; ++i) pause = pause + pause;
  pause = std::min(pause, kPauseMax);
  const auto half = static_cast<uint64_t>(pause.us / 2);
  return Duration::micros(static_cast<int64_t>(half + context_.random.next() % (half + 1)));
}

Status OutboxReconciler::forget_delivered(const Snapshot& snapshot,
                                          const std::vector<Record<v1::WebhookRecord>>& webhooks) {
  ASSIGN_OR_RETURN(auto events, list_references(snapshot, keys::outbox(), "", kLookAhead));
  if (events.empty()) return Status::ok();
  std::string done = events.back().key;
  for (const auto& webhook : webhooks) {
    ASSIGN_OR_RETURN(auto state, require<v1::WebhookState>(snapshot, state_key(webhook.value.webhook().metadata()),
                                                           "the state of a webhook"));
    done = std::min(done, state.value.cursor());
  }
  Change change;
  change.actor = "control/outbox";
  change.action = "forget delivered events";
  for (const auto& event : events) {
    if (event.key <= done) erase(change, event.key);
  }
  if (change.writes.empty()) return Status::ok();
  CRASH_POINT("outbox.forget.before_commit");
  RETURN_IF_ERROR(context_.commit(std::move(change)).status());
  CRASH_POINT("outbox.forget.after_commit");
  return Status::ok();
}

}  // namespace freshet::control
