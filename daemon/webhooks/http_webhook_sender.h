// HttpWebhookSender: delivers over HTTP, each attempt as one job of a pool of its own, so that a webhook that hangs
// holds up others only when many do. Reads the secret anew for every attempt, so that it can be changed while the
// daemon runs. Owned by the app; send() and take_outcomes() from the loop's thread, stop() from the owner's.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "daemon/async/worker_pool.h"
#include "daemon/control/webhook_sender.h"
#include "net/address_policy.h"

namespace freshet {

class HttpWebhookSender final : public control::WebhookSender {
 public:
  // `wake` is called on any thread when there is an outcome.
  HttpWebhookSender(net::AddressPolicy policy, const Clock& clock, std::function<void()> wake);
  ~HttpWebhookSender() override;

  void send(control::WebhookDelivery delivery) override;
  std::vector<control::WebhookOutcome> take_outcomes() override;

  // Gives up the attempts under way; they are made again after the next start. Idempotent.
  void stop();

 private:
  void attempt(const control::WebhookDelivery& delivery);
  void finish(control::WebhookOutcome outcome);

  const net::AddressPolicy policy_;
  const Clock& clock_;
  const std::function<void()> wake_;
  std::atomic<bool> is_stopped_ = false;
  std::mutex mutex_;
  std::vector<control::WebhookOutcome> outcomes_;  // guarded by mutex_
  async::WorkerPool pool_;
};

}  // namespace freshet
