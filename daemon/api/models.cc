// The registry: models, versions, aliases and their moves.
#include <charconv>

#include "daemon/api/mutation.h"
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {
namespace {

using http::Permission;
using http::Principal;
using http::Request;

Result<uint64_t> version_param(const Request& request) {
  const std::string& text = request.param("version");
  uint64_t version = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), version);
  if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && version > 0) return version;
  return invalid_argument("'" + text + "' is not a version; versions are whole numbers from 1");
}

}  // namespace

void add_model_routes(http::Router& router, const Services& services) {
  control::ModelService& models = services.models;
  router.route<Permission::kRead>(
      "GET", "/api/v1/models",
      http::json_handler([&models](const Principal&, const Request& request) -> Result<v1::ListModelsResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return models.list_models(project_of(request), request.query_or("at", ""), page);
      }),
      {.query = list_query({"at"})});
  router.route<Permission::kRead>(
      "GET", "/api/v1/models/{model}/versions",
      http::json_handler([&models](const Principal&, const Request& request) -> Result<v1::ListModelVersionsResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return models.list_versions(project_of(request), request.param("model"), request.query_or("at", ""), page);
      }),
      {.query = list_query({"at"})});
  router.route<Permission::kRead>(
      "GET", "/api/v1/models/{model}/versions/{version}",
      http::json_handler([&models](const Principal&, const Request& request) -> Result<v1::ModelVersion> {
        ASSIGN_OR_RETURN(uint64_t version, version_param(request));
        return models.get_version(project_of(request), request.param("model"), version);
      }),
      {.query = {"project"}});
  router.route<Permission::kRead>("GET", "/api/v1/models/{model}/aliases/{alias}",
                                  http::json_handler([&models](const Principal&, const Request& request) {
                                    return models.get_alias(project_of(request), request.param("model"),
                                                            request.param("alias"), request.query_or("at", ""));
                                  }),
                                  {.query = {"project", "at"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/models/{model}/moves",
      http::json_handler([&models](const Principal&, const Request& request) -> Result<v1::ListAliasMovesResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return models.list_moves(project_of(request), request.param("model"), request.query_or("alias", ""), page);
      }),
      {.query = list_query({"alias"})});
  router.mutation<Permission::kPromote>(
      "/api/v1/models/{model}/promote",
      mutation<v1::PromoteRequest>(
          services.answers,
          [&models](const control::Caller& caller, const Request& request, const v1::PromoteRequest& body) {
            return models.promote(caller, project_of(request), request.param("model"), body);
          }),
      {.query = {"project"}});
  router.mutation<Permission::kSubmit>(
      "/api/v1/models/{model}/versions/{version}/replay",
      mutation<v1::ReplayRequest>(services.answers,
                                  [&models](const control::Caller& caller, const Request& request,
                                            const v1::ReplayRequest& body) -> Result<v1::Run> {
                                    ASSIGN_OR_RETURN(uint64_t version, version_param(request));
                                    return models.replay(caller, project_of(request), request.param("model"), version,
                                                         body);
                                  }),
      {.query = {"project"}});
  router.mutation<Permission::kPromote>(
      "/api/v1/models/{model}/rollback",
      mutation<v1::RollbackRequest>(
          services.answers,
          [&models](const control::Caller& caller, const Request& request, const v1::RollbackRequest& body) {
            return models.rollback(caller, project_of(request), request.param("model"), body);
          }),
      {.query = {"project"}});
}

}  // namespace freshet::api
