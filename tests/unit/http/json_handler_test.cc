#include "daemon/http/json_handler.h"

#include <gtest/gtest.h>

#include "daemon/http/status_mapping.h"
#include "proto/api.pb.h"
#include "tests/unit/http/server_fixture.h"

namespace freshet::http::test {
namespace {

using JsonHandlerTest = HttpServerTest;

TEST_F(JsonHandlerTest, SpeaksTheSchema) {
  router_.route<Permission::kSubmit>(
      "POST", "/api/v1/runs",
      json_handler<v1::SubmitRequest>(
          [](const Principal& principal, const v1::SubmitRequest& request) -> Result<v1::VersionResponse> {
            v1::VersionResponse answer;
            answer.set_version(principal.name() + " " + request.pipeline());
            return answer;
          }),
      {.effect = Effect::kReads});
  router_.route<Permission::kSubmit>(
      "POST", "/api/v1/runs/{id}/cancel",
      json_handler<v1::CancelRunRequest>([](const Principal&, const Request& request,
                                            const v1::CancelRunRequest& body) -> Result<v1::VersionResponse> {
        v1::VersionResponse answer;
        answer.set_version(request.param("id") + " " + body.reason());
        return answer;
      }),
      {.effect = Effect::kReads});
  router_.route<Permission::kRead>("GET", "/api/v1/version",
                                   json_handler([](const Principal&, const Request&) -> Result<v1::VersionResponse> {
                                     return not_found("there is no version");
                                   }));
  start();
  net::HttpClient http = client();

  Result<net::HttpResponse> answer = http.request({.method = "POST",
                                                   .url = url("/api/v1/runs"),
                                                   .headers = {},
                                                   .body = R"({"pipeline":"flights"})",
                                                   .body_file = {},
                                                   .timeout = {}});
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "{\"version\":\"admin flights\"}\n");
  EXPECT_EQ(answer->header("content-type"), "application/json");

  answer = http.request({.method = "POST",
                         .url = url("/api/v1/runs/7/cancel"),
                         .headers = {},
                         .body = R"({"reason":"late"})",
                         .body_file = {},
                         .timeout = {}});
  EXPECT_EQ(answer->body, "{\"version\":\"7 late\"}\n");
  // No body is an empty message.
  answer = http.request({.method = "POST",
                         .url = url("/api/v1/runs/7/cancel"),
                         .headers = {},
                         .body = "",
                         .body_file = {},
                         .timeout = {}});
  EXPECT_EQ(answer->body, "{\"version\":\"7 \"}\n");

  for (const char* body :
       {R"({"pipelines":"flights"})", R"({"pipeline":7})", "{", R"({"pipeline":"a","pipeline":"b"})", "[]"}) {
    answer = http.request(
        {.method = "POST", .url = url("/api/v1/runs"), .headers = {}, .body = body, .body_file = {}, .timeout = {}});
    EXPECT_EQ(answer->status, 400) << body;
    EXPECT_EQ(net::to_status(*answer).code(), Code::kInvalidArgument);
    EXPECT_TRUE(net::to_status(*answer).message().starts_with("the body: ")) << answer->body;
  }

  answer = http.request(
      {.method = "GET", .url = url("/api/v1/version"), .headers = {}, .body = "", .body_file = {}, .timeout = {}});
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(net::to_status(*answer).to_string(), "not_found: there is no version");
}

TEST(StatusMapping, EveryCodeHasAnAnswer) {
  const std::pair<Status, int> table[] = {
      {invalid_argument("m"), 400}, {unauthenticated("m"), 401}, {permission_denied("m"), 403},
      {not_found("m"), 404},        {already_exists("m"), 409},  {conflict("m"), 409},
      {cancelled("m"), 499},        {corrupt("m"), 500},         {internal("m"), 500},
      {unavailable("m"), 503},      {deadline("m"), 504},        {resource_exhausted("m"), 507}};
  for (const auto& [status, number] : table) {
    Response response = error_response(status);
    EXPECT_EQ(response.status, number);
    // And back, as the CLI and the agent read it.
    net::HttpResponse received{response.status, {}, response.body};
    EXPECT_EQ(net::to_status(received).code(), status.code());
    EXPECT_EQ(net::to_status(received).message() == "m", status.code() != Code::kInternal);
  }
}

}  // namespace
}  // namespace freshet::http::test
