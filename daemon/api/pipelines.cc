// Pipelines, sources and triggers: what an operator applied.
#include "daemon/api/mutation.h"
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {

using http::Permission;
using http::Principal;
using http::Request;

void add_pipeline_routes(http::Router& router, const Services& services) {
  control::PipelineService& pipelines = services.pipelines;
  router.mutation<Permission::kOperate>(
      "/api/v1/apply",
      mutation<v1::ApplyRequest>(
          services.answers, [&pipelines](const control::Caller& caller, const Request&, const v1::ApplyRequest& body) {
            return pipelines.apply(caller, body, false);
          }));
  router.route<Permission::kRead>(
      "POST", "/api/v1/diff",
      http::json_handler<v1::ApplyRequest>([&pipelines](const Principal& who, const v1::ApplyRequest& request) {
        return pipelines.apply({who.name()}, request, true);
      }),
      {.effect = http::Effect::kReads});
  router.route<Permission::kRead>(
      "GET", "/api/v1/pipelines",
      http::json_handler([&pipelines](const Principal&, const Request& request) -> Result<v1::ListPipelinesResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return pipelines.list_pipelines(project_of(request), page);
      }),
      {.query = list_query()});
  router.route<Permission::kRead>("GET", "/api/v1/pipelines/{name}",
                                  http::json_handler([&pipelines](const Principal&, const Request& request) {
                                    return pipelines.get_pipeline(project_of(request), request.param("name"));
                                  }),
                                  {.query = {"project"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/sources",
      http::json_handler([&pipelines](const Principal&, const Request& request) -> Result<v1::ListSourcesResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return pipelines.list_sources(project_of(request), page);
      }),
      {.query = list_query()});
  router.route<Permission::kRead>(
      "GET", "/api/v1/triggers",
      http::json_handler([&pipelines](const Principal&, const Request& request) -> Result<v1::ListTriggersResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return pipelines.list_triggers(project_of(request), page);
      }),
      {.query = list_query()});
  for (bool paused : {true, false}) {
    router.mutation<Permission::kOperate>(
        std::string("/api/v1/triggers/{name}/") + (paused ? "pause" : "resume"),
        mutation<v1::PauseTriggerRequest>(services.answers,
                                          [&pipelines, paused](const control::Caller& caller, const Request& request,
                                                               const v1::PauseTriggerRequest& body) {
                                            return pipelines.set_paused(caller, project_of(request),
                                                                        request.param("name"), paused, body.reason());
                                          }),
        {.query = {"project"}});
  }
}

}  // namespace freshet::api
