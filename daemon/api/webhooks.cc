// Webhooks: how far each has come, what it did not take, and one more try of it.
#include <google/protobuf/empty.pb.h>

#include "daemon/api/mutation.h"
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {

using http::Permission;
using http::Principal;
using http::Request;

void add_webhook_routes(http::Router& router, const Services& services) {
  control::WebhookService& webhooks = services.webhooks;
  router.route<Permission::kRead>(
      "GET", "/api/v1/webhooks",
      http::json_handler([&webhooks](const Principal&, const Request& request) -> Result<v1::ListWebhooksResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return webhooks.list_webhooks(project_of(request), page);
      }),
      {.query = list_query()});
  router.route<Permission::kRead>(
      "GET", "/api/v1/dead_letters",
      http::json_handler([&webhooks](const Principal&, const Request& request) -> Result<v1::ListDeadLettersResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return webhooks.list_dead_letters(project_of(request), request.query_or("webhook", ""), page);
      }),
      {.query = list_query({"webhook"})});
  router.mutation<Permission::kOperate>(
      "/api/v1/dead_letters/redeliver",
      mutation<v1::RedeliverRequest>(
          services.answers,
          [&webhooks](const control::Caller& caller, const Request& request, const v1::RedeliverRequest& body) {
            return webhooks.redeliver(caller, project_of(request), body);
          }),
      {.query = {"project"}});
  router.mutation<Permission::kOperate>(
      "/api/v1/webhooks/{name}/test",
      mutation<google::protobuf::Empty>(
          services.answers,
          [&webhooks](const control::Caller& caller, const Request& request, const google::protobuf::Empty&) {
            return webhooks.test(caller, project_of(request), request.param("name"));
          }),
      {.query = {"project"}});
}

}  // namespace freshet::api
