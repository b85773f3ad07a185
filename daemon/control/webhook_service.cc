#include "daemon/control/webhook_service.h"

#include <set>

#include "base/crash_point.h"
#include "daemon/control/outbox.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"

namespace freshet::control {
namespace {

// Beyond that, a view counts no further.
constexpr size_t kCountedMax = 1000;

}  // namespace

Result<v1::ListWebhooksResponse> WebhookService::list_webhooks(const std::string& project, const PageRequest& page) {
  const std::string prefix = keys::webhooks(project);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto records, list<v1::WebhookRecord>(*snapshot, prefix, page.token, size + 1));
  v1::ListWebhooksResponse response;
  response.set_next_page_token(cut_page(&records, size));
  for (auto& record : records) {
    const std::string& name = record.value.webhook().metadata().name();
    ASSIGN_OR_RETURN(auto state, require<v1::WebhookState>(*snapshot, keys::webhook_state(project, name), name));
    ASSIGN_OR_RETURN(auto events, list<v1::Event>(*snapshot, keys::outbox(), state.value.cursor(), kCountedMax));
    ASSIGN_OR_RETURN(auto dead, list_references(*snapshot, keys::dead_letters(project, name), "", kCountedMax));
    auto* view = response.add_webhooks();
    for (const auto& event : events) {
      if (wants(record.value.webhook(), event.value)) view->set_pending(view->pending() + 1);
    }
    view->set_dead_letters(dead.size());
    *view->mutable_webhook() = std::move(*record.value.mutable_webhook());
    *view->mutable_state() = std::move(state.value);
  }
  return response;
}

Result<v1::ListDeadLettersResponse> WebhookService::list_dead_letters(const std::string& project,
                                                                      const std::string& webhook,
                                                                      const PageRequest& page) {
  const std::string prefix = webhook.empty() ? keys::dead_letters(project) : keys::dead_letters(project, webhook);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  ASSIGN_OR_RETURN(auto letters, list<v1::DeadLetter>(*context_.store.snapshot(), prefix, page.token, size + 1));
  v1::ListDeadLettersResponse response;
  response.set_next_page_token(cut_page(&letters, size));
  for (auto& letter : letters) *response.add_dead_letters() = std::move(letter.value);
  return response;
}

Result<v1::ListDeadLettersResponse> WebhookService::redeliver(const Caller& caller, const std::string& project,
                                                              const v1::RedeliverRequest& request) {
  if (request.all() != request.event_ids().empty()) {
    return invalid_argument("name event_ids, or set all (--all), but not both");
  }
  const std::string prefix =
      request.webhook().empty() ? keys::dead_letters(project) : keys::dead_letters(project, request.webhook());
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto letters, list<v1::DeadLetter>(*snapshot, prefix));
  const std::set<std::string> wanted(request.event_ids().begin(), request.event_ids().end());
  std::set<std::string> missing = wanted;
  Change change;
  change.action = "redeliver dead letters";
  v1::ListDeadLettersResponse response;
  for (auto& letter : letters) {
    const std::string& id = letter.value.event().id();
    if (!request.all() && !wanted.contains(id)) continue;
    missing.erase(id);
    put_reference(change, keys::redelivery(project, letter.value.webhook(), keys::last_part(letter.key)), letter.key);
    *response.add_dead_letters() = std::move(letter.value);
  }
  if (!missing.empty()) return not_found("no dead letter holds event " + *missing.begin());
  CRASH_POINT("webhook.redeliver.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, response));
  CRASH_POINT("webhook.redeliver.after_commit");
  return response;
}

Result<v1::Event> WebhookService::test(const Caller& caller, const std::string& project, const std::string& name) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto record, require<v1::WebhookRecord>(*snapshot, keys::webhook(project, name), "webhook " + name));
  if (record.value.webhook().spec().disabled()) {
    return conflict("webhook " + name + " is disabled; remove `disabled` from its document and apply it");
  }
  v1::Event event;
  event.set_type(kWebhookTest);
  event.set_project(project);
  event.set_subject("webhooks/" + name);
  event.set_webhook(name);
  event.mutable_data()->set_actor(caller.name);
  Change change;
  change.action = "test webhook " + name;
  add_event(context_, &change, &event);
  CRASH_POINT("webhook.test.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, event));
  CRASH_POINT("webhook.test.after_commit");
  return event;
}

}  // namespace freshet::control
