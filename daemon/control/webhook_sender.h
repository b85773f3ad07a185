// WebhookSender: how the outbox reaches the world. Implemented over HTTP in daemon/webhooks, and by the simulator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.h"
#include "proto/webhook.pb.h"

namespace freshet::control {

struct WebhookDelivery {
  uint64_t ticket = 0;   // comes back with the outcome
  v1::WebhookSpec spec;  // where to, and how to sign
  std::string event_id;  // the same in every attempt
  std::string event_type;
  std::string body;
};

struct WebhookOutcome {
  uint64_t ticket = 0;
  int status = 0;     // of the answer; 0: there was none
  std::string error;  // empty: it was accepted
  Duration took;
};

class WebhookSender {
 public:
  virtual ~WebhookSender() = default;
  // Never blocks. One outcome follows for each delivery, unless the process ends before; the loop is woken for it.
  virtual void send(WebhookDelivery delivery) = 0;
  // What came since the last call.
  virtual std::vector<WebhookOutcome> take_outcomes() = 0;
};

}  // namespace freshet::control
