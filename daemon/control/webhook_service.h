// WebhookService: webhooks as people see them: how far each has come, what it did not take, one more try, and a test.
// Webhooks are made by PipelineService::apply. Called by API handlers, from any thread.
#pragma once

#include <string>

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "proto/api.pb.h"

namespace freshet::control {

class WebhookService {
 public:
  explicit WebhookService(Context& context) : context_(context) {}

  Result<v1::ListWebhooksResponse> list_webhooks(const std::string& project, const PageRequest& page);
  // Of one webhook, or of all when it is empty; by webhook, the oldest first.
  Result<v1::ListDeadLettersResponse> list_dead_letters(const std::string& project, const std::string& webhook,
                                                        const PageRequest& page);
  // One more attempt for each of them; those that fail stay dead letters.
  Result<v1::ListDeadLettersResponse> redeliver(const Caller& caller, const std::string& project,
                                                const v1::RedeliverRequest& request);
  // An event webhook.test for this webhook alone.
  Result<v1::Event> test(const Caller& caller, const std::string& project, const std::string& name);

 private:
  Context& context_;
};

}  // namespace freshet::control
