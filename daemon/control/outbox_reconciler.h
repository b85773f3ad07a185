// OutboxReconciler: brings the events of the outbox to the webhooks, each at least once and in order, one at a time for
// each webhook. An event that is not taken is tried again with growing pauses, while the ones behind it wait; in the
// end it becomes a dead letter. What every webhook is done with is removed. What is under way is known in memory only:
// after a restart it is sent again, under the same id. Runs on the control loop.
#pragma once

#include <map>
#include <string>

#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"
#include "daemon/control/webhook_sender.h"
#include "daemon/store/tables.h"
#include "proto/webhook.pb.h"

namespace freshet::control {

class OutboxReconciler final : public Reconciler {
 public:
  OutboxReconciler(Context& context, WebhookSender& sender) : context_(context), sender_(sender) {}

  std::string_view name() const override { return "outbox"; }
  Time reconcile(Time now) override;

 private:
  // What has been handed to the sender.
  struct UnderWay {
    std::string webhook_key;
    std::string event_key;  // also of a dead letter that is delivered once more
    bool is_dead_letter = false;
    uint32_t attempt = 0;
    int64_t applied_us = 0;  // of the spec that it is sent by
  };

  Status settle(const WebhookOutcome& outcome, Time now);
  Status settle_event(const Snapshot& snapshot, const UnderWay& sent, const v1::Webhook& webhook,
                      const WebhookOutcome& outcome, Time now, Record<v1::WebhookState>* state, Change* change);
  Status settle_dead_letter(const Snapshot& snapshot, const UnderWay& sent, const WebhookOutcome& outcome, Time now,
                            v1::WebhookState* state, Change* change);
  // Sends the next event of a webhook for which nothing is under way.
  Status advance(const Snapshot& snapshot, const Record<v1::WebhookRecord>& webhook, Time now, Time* wake);
  Status redeliver(const Snapshot& snapshot, const Record<v1::WebhookRecord>& webhook, const Reference& asked);
  Status forget_delivered(const Snapshot& snapshot, const std::vector<Record<v1::WebhookRecord>>& webhooks);
  Duration pause_before(uint32_t attempt, const v1::WebhookSpec& spec);
  void send(const Record<v1::WebhookRecord>& webhook, const v1::Event& event, UnderWay sent);

  Context& context_;
  WebhookSender& sender_;
  std::map<uint64_t, UnderWay> under_way_;  // by ticket
  uint64_t next_ticket_ = 1;
};

}  // namespace freshet::control
