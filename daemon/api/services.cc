#include "daemon/api/services.h"

namespace freshet::api {

std::string project_of(const http::Request& request) { return request.query_or("project", "default"); }

Result<control::PageRequest> page_of(const http::Request& request) {
  control::PageRequest page;
  ASSIGN_OR_RETURN(uint64_t size, request.query_number("page_size", 0, control::kPageSizeMax));
  page.size = static_cast<uint32_t>(size);
  page.token = request.query_or("page_token", "");
  return page;
}

std::vector<std::string> list_query(std::vector<std::string> more) {
  std::vector<std::string> names = {"project", "page_size", "page_token"};
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

void add_routes(http::Router& router, const Services& services, http::WebSocketListener& agents) {
  add_pipeline_routes(router, services);
  add_run_routes(router, services);
  add_model_routes(router, services);
  add_data_routes(router, services);
  add_artifact_routes(router, services);
  add_gc_routes(router, services);
  add_system_routes(router, services);
  add_webhook_routes(router, services);
  router.websocket<http::Permission::kAgent>("/api/v1/agents/connect", agents);
}

}  // namespace freshet::api
