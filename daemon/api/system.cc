// Nodes, the audit log, the daemon's version, and the three routes that need no token.
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {

using http::Permission;
using http::Principal;
using http::Request;
using http::Response;

void add_system_routes(http::Router& router, const Services& services) {
  control::SystemService& system = services.system;
  router.route<Permission::kRead>(
      "GET", "/api/v1/nodes",
      http::json_handler([&system](const Principal&, const Request&) { return system.list_nodes(); }));
  router.route<Permission::kRead>(
      "GET", "/api/v1/audit",
      http::json_handler([&system](const Principal&, const Request& request) -> Result<v1::ListAuditResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return system.list_audit(page);
      }),
      {.query = {"page_size", "page_token"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/version",
      http::json_handler([&system](const Principal&, const Request&) { return system.version(); }));
  router.route<Permission::kPublic>("GET", "/healthz", [](const Principal&, const Request&) -> Result<Response> {
    return http::text_response("ok\n");
  });
  router.route<Permission::kPublic>("GET", "/readyz",
                                    [ready = services.ready](const Principal&, const Request&) -> Result<Response> {
                                      RETURN_IF_ERROR(ready());
                                      return http::text_response("ready\n");
                                    });
  router.route<Permission::kPublic>(
      "GET", "/metrics", [text = services.metrics_text](const Principal&, const Request&) -> Result<Response> {
        ASSIGN_OR_RETURN(std::string body, text());
        return http::text_response(std::move(body), "text/plain; version=0.0.4; charset=utf-8");
      });
}

}  // namespace freshet::api
