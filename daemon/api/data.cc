// Entries of a pipeline's inputs with their validation, what is in quarantine, and dataset manifests.
#include "daemon/api/mutation.h"
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {

using http::Permission;
using http::Principal;
using http::Request;

void add_data_routes(http::Router& router, const Services& services) {
  control::DataService& data = services.data;
  router.route<Permission::kRead>(
      "GET", "/api/v1/data/{pipeline}/{input}",
      http::json_handler([&data](const Principal&, const Request& request) -> Result<v1::ListEntriesResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return data.list_entries(project_of(request), request.param("pipeline"), request.param("input"),
                                 request.query_or("state", ""), page);
      }),
      {.query = list_query({"state"})});
  router.mutation<Permission::kOperate>(
      "/api/v1/data/{pipeline}/{input}/decide",
      mutation<v1::DecideEntriesRequest>(
          services.answers,
          [&data](const control::Caller& caller, const Request& request, const v1::DecideEntriesRequest& body) {
            return data.decide(caller, project_of(request), request.param("pipeline"), request.param("input"), body);
          }),
      {.query = {"project"}});
  router.route<Permission::kRead>("GET", "/api/v1/datasets/{digest}",
                                  http::json_handler([&data](const Principal&, const Request& request) {
                                    return data.get_dataset(project_of(request), request.param("digest"));
                                  }),
                                  {.query = {"project"}});
}

}  // namespace freshet::api
