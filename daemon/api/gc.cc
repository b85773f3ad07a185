// Garbage collection: what would go and why, and a round now.
#include "daemon/api/mutation.h"
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {

using http::Permission;
using http::Principal;
using http::Request;

void add_gc_routes(http::Router& router, const Services& services) {
  control::GcService& gc = services.gc;
  router.route<Permission::kRead>("GET", "/api/v1/gc",
                                  http::json_handler([&gc](const Principal&, const Request& request) {
                                    return gc.plan(request.query_or("all", "") == "true");
                                  }),
                                  {.query = {"all"}});
  router.mutation<Permission::kOperate>(
      "/api/v1/gc",
      mutation<v1::GcRequest>(services.answers, [&gc](const control::Caller& caller, const Request&,
                                                      const v1::GcRequest& body) { return gc.run(caller, body); }));
}

}  // namespace freshet::api
