// Nodes, the audit log, the daemon's version, and the three routes that need no token.
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {

using http::Permission;
using http::Principal;
using http::Request;
using http::Response;

namespace {

Result<control::Backups*> backups_of(const Services& services) {
  if (services.backups != nullptr) return services.backups;
  return unavailable("this daemon keeps nothing in files, so there is nothing to back up");
}

}  // namespace

void add_system_routes(http::Router& router, const Services& services) {
  control::SystemService& system = services.system;
  router.route<Permission::kRead>(
      "GET", "/api/v1/nodes",
      http::json_handler([&system](const Principal&, const Request&) { return system.list_nodes(); }));
  router.route<Permission::kRead>(
      "GET", "/api/v1/audit",
      http::json_handler([&system](const Principal&, const Request& request) -> Result<v1::ListAuditResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        ASSIGN_OR_RETURN(uint64_t since_us, request.query_number("since_us", 0, INT64_MAX));
        return system.list_audit(
            {request.query_or("actor", ""), request.query_or("action", ""), static_cast<int64_t>(since_us)}, page);
      }),
      {.query = {"page_size", "page_token", "actor", "action", "since_us"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/audit/head",
      http::json_handler([&system](const Principal&, const Request&) { return system.audit_head(); }));
  router.route<Permission::kRead>(
      "GET", "/api/v1/audit/verify",
      http::json_handler([&system](const Principal&, const Request& request) -> Result<v1::VerifyAuditResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return system.verify_audit(request.query_or("heads", ""), page);
      }),
      {.query = {"page_size", "page_token", "heads"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/version",
      http::json_handler([&system](const Principal&, const Request&) { return system.version(); }));
  router.route<Permission::kOperate>(
      "POST", "/api/v1/backup",
      http::json_handler<v1::BackupRequest>(
          [services](const Principal&, const v1::BackupRequest& request) -> Result<v1::BackupStatus> {
            ASSIGN_OR_RETURN(control::Backups * backups, backups_of(services));
            return backups->start(request);
          }),
      {.effect = http::Effect::kReads});  // of the daemon's own state nothing changes, and a second start is refused
  router.route<Permission::kRead>(
      "GET", "/api/v1/backup",
      http::json_handler([services](const Principal&, const Request&) -> Result<v1::BackupStatus> {
        ASSIGN_OR_RETURN(control::Backups * backups, backups_of(services));
        return backups->status();
      }));
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
