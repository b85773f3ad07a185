// Runs: submit, list, show, cancel; curves, logs and the stream of a run's progress.
#include "daemon/api/mutation.h"
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"
#include "proto/json.h"
#include "scheduler/run_graph.h"

namespace freshet::api {
namespace {

using http::Permission;
using http::Principal;
using http::Request;
using http::Response;

// The run's log as plain text; the next offset and whether that is all are in the header.
Result<Response> read_log(control::RunService& runs, const Request& request) {
  ASSIGN_OR_RETURN(uint64_t offset, request.query_number("offset", 0, UINT64_MAX));
  ASSIGN_OR_RETURN(auto chunk, runs.logs(project_of(request), request.param("id"), request.query_or("step", ""),
                                         request.query_or("stream", "stdout"), offset));
  Response response = http::text_response(std::move(chunk.text));
  response.headers.emplace_back("X-Freshet-Next-Offset", std::to_string(chunk.next_offset));
  response.headers.emplace_back("X-Freshet-Complete", chunk.complete ? "true" : "false");
  return response;
}

// Sends the run whenever it or its newest metrics changed, and ends with the run.
class RunFollower {
 public:
  RunFollower(control::RunService& runs, std::string project, std::string id)
      : runs_(runs), project_(std::move(project)), id_(std::move(id)) {}

  Result<http::Events> operator()() {
    ASSIGN_OR_RETURN(auto now, runs_.event(project_, id_));
    http::Events events;
    if (now.fingerprint != last_) {
      last_ = now.fingerprint;
      events.events.push_back({"run", now.fingerprint, to_json(now.event)});
      events.is_last = scheduler::is_final(now.event.run().state());
    }
    return events;
  }

 private:
  control::RunService& runs_;
  std::string project_, id_, last_;
};

}  // namespace

void add_run_routes(http::Router& router, const Services& services) {
  control::RunService& runs = services.runs;
  router.mutation<Permission::kSubmit>(
      "/api/v1/runs",
      mutation<v1::SubmitRequest>(
          services.answers, [&runs](const control::Caller& caller, const Request&, const v1::SubmitRequest& body) {
            return runs.submit(caller, body);
          }));
  router.route<Permission::kRead>(
      "GET", "/api/v1/runs",
      http::json_handler([&runs](const Principal&, const Request& request) -> Result<v1::ListRunsResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return runs.list_runs(project_of(request), {request.query_or("pipeline", ""), request.query_or("state", "")},
                              page);
      }),
      {.query = list_query({"pipeline", "state"})});
  router.route<Permission::kRead>("GET", "/api/v1/runs/{id}",
                                  http::json_handler([&runs](const Principal&, const Request& request) {
                                    return runs.get_run(project_of(request), request.param("id"));
                                  }),
                                  {.query = {"project"}});
  router.mutation<Permission::kSubmit>(
      "/api/v1/runs/{id}/cancel",
      mutation<v1::CancelRunRequest>(
          services.answers,
          [&runs](const control::Caller& caller, const Request& request, const v1::CancelRunRequest& body) {
            return runs.cancel(caller, project_of(request), request.param("id"), body.reason());
          }),
      {.query = {"project"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/runs/{id}/metrics",
      http::json_handler([&runs](const Principal&, const Request& request) -> Result<v1::RunMetricsResponse> {
        ASSIGN_OR_RETURN(auto page, page_of(request));
        return runs.metrics(project_of(request), request.param("id"), request.query_or("name", ""), page);
      }),
      {.query = list_query({"name"})});
  router.route<Permission::kRead>("GET", "/api/v1/runs/{id}/logs",
                                  [&runs](const Principal&, const Request& request) { return read_log(runs, request); },
                                  {.query = {"project", "step", "stream", "offset"}});
  router.route<Permission::kRead>(
      "GET", "/api/v1/runs/{id}/events",
      [&runs](const Principal&, const Request& request) -> Result<Response> {
        // The first look answers not_found in the usual way, before the stream begins.
        RETURN_IF_ERROR(runs.event(project_of(request), request.param("id")).status());
        return http::event_response(RunFollower(runs, project_of(request), request.param("id")));
      },
      {.query = {"project"}});
}

}  // namespace freshet::api
