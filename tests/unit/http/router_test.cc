#include "daemon/http/router.h"

#include <gtest/gtest.h>

namespace freshet::http {
namespace {

Result<Response> nothing(const Principal&, const Request&) { return Response(); }

// A route without a permission does not compile.
template <class R>
concept RoutesWithoutPermission = requires(R& router, Handler handler) { router.route("GET", "/x", handler); };
template <class R>
concept RoutesWithPermission =
    requires(R& router, Handler handler) { router.template route<Permission::kRead>("GET", "/x", handler); };
template <class R>
concept UploadsWithoutPermission = requires(R& router, UploadHandler handler) { router.upload("PUT", "/x", handler); };
template <class R>
concept ListensWithoutPermission =
    requires(R& router, WebSocketListener& listener) { router.websocket("/x", listener); };
static_assert(RoutesWithPermission<Router>);
static_assert(!RoutesWithoutPermission<Router>);
static_assert(!UploadsWithoutPermission<Router>);
static_assert(!ListensWithoutPermission<Router>);

// A Principal comes from the Authenticator or from another Principal only.
static_assert(!std::is_default_constructible_v<Principal>);
static_assert(!std::is_constructible_v<Principal, std::string, PermissionSet>);

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() {
    router_.route<Permission::kRead>("GET", "/api/v1/runs", nothing);
    router_.mutation<Permission::kSubmit>("/api/v1/runs", Mutation{nothing});
    router_.route<Permission::kRead>("GET", "/api/v1/runs/{id}", nothing);
    router_.route<Permission::kRead>("GET", "/api/v1/runs/latest", nothing);
    router_.mutation<Permission::kSubmit>("/api/v1/runs/{id}/cancel", Mutation{nothing});
    router_.route<Permission::kAgent>("GET", "/api/v1/artifacts/{digest}/files/{name*}", nothing);
  }
  std::string pattern_of(std::string_view method, std::string_view path) {
    Result<RouteMatch> match = router_.match(method, path);
    if (!match.is_ok()) return match.status().to_string();
    return match->route ? match->route->pattern : "none";
  }
  Router router_;
};

TEST_F(RouterTest, FindsTheMostLiteralPattern) {
  EXPECT_EQ(pattern_of("GET", "/api/v1/runs"), "/api/v1/runs");
  EXPECT_EQ(pattern_of("GET", "/api/v1/runs/3f"), "/api/v1/runs/{id}");
  EXPECT_EQ(pattern_of("GET", "/api/v1/runs/latest"), "/api/v1/runs/latest");
  EXPECT_EQ(pattern_of("POST", "/api/v1/runs/3f/cancel"), "/api/v1/runs/{id}/cancel");
  EXPECT_EQ(pattern_of("GET", "/api/v1"), "none");
  EXPECT_EQ(pattern_of("GET", "/"), "none");
  EXPECT_EQ(pattern_of("GET", "/api/v1/runs/3f/cancel/x"), "none");
  EXPECT_EQ(pattern_of("GET", "/API/v1/runs"), "none");
}

TEST_F(RouterTest, DecodesParameters) {
  EXPECT_EQ(router_.match("GET", "/api/v1/runs/a%20b%2B+")->params.at("id"), "a b++");
  RouteMatch file = *router_.match("GET", "/api/v1/artifacts/ab/files/x/y.bin");
  EXPECT_EQ(file.params.at("digest"), "ab");
  EXPECT_EQ(file.params.at("name"), "x/y.bin");
  EXPECT_EQ(pattern_of("GET", "/api/v1/artifacts/ab/files"), "none");
}

TEST_F(RouterTest, NamesTheMethodsOfAPath) {
  RouteMatch match = *router_.match("DELETE", "/api/v1/runs");
  EXPECT_EQ(match.route, nullptr);
  EXPECT_EQ(match.allowed, (std::vector<std::string>{"GET", "POST"}));
  EXPECT_TRUE(router_.match("DELETE", "/api/v2")->allowed.empty());
}

TEST_F(RouterTest, RefusesPathsThatMeanTwoThings) {
  for (const char* path : {"/api//v1/runs", "/api/v1/runs/", "/api/v1/./runs", "/api/v1/runs/..", "/api/v1/runs/%2e%2e",
                           "/api/v1/runs/a%2fb", "/api/v1/runs/a%00", "/api/v1/runs/%0a", "/api/v1/runs/%",
                           "/api/v1/runs/%4", "/api/v1/runs/%zz", "/api/v1/artifacts/ab/files/x/../y"}) {
    EXPECT_EQ(router_.match("GET", path).status().code(), Code::kInvalidArgument) << path;
  }
}

TEST_F(RouterTest, RefusesWrongTables) {
  EXPECT_DEATH(router_.route<Permission::kPublic>("GET", "/api/v1/models", nothing), "may not be public");
  EXPECT_DEATH(router_.route<Permission::kRead>("GET", "/api/v1/runs/{other}", nothing), "two routes");
  EXPECT_DEATH(router_.route<Permission::kRead>("GET", "/a/{x*}/b", nothing), "must come last");
  EXPECT_DEATH(router_.route<Permission::kRead>("GET", "/a/", nothing), "bad route pattern");
  EXPECT_DEATH(router_.route<Permission::kRead>("GET", "/a/{}", nothing), "bad route pattern");
}

TEST(Query, DecodesAndRefuses) {
  std::vector<std::string> allowed = {"page_size", "pipeline"};
  auto values = *parse_query("page_size=20&pipeline=a%20b+c", allowed);
  EXPECT_EQ(values.at("page_size"), "20");
  EXPECT_EQ(values.at("pipeline"), "a b c");
  EXPECT_TRUE(parse_query("", allowed)->empty());
  EXPECT_EQ(parse_query("pipeline", allowed)->at("pipeline"), "");
  EXPECT_EQ(parse_query("page_size=1&page_size=1", allowed).status().message(),
            "the query parameter 'page_size' is given twice");
  EXPECT_EQ(parse_query("limit=1", allowed).status().message(), "this call has no query parameter 'limit'");
  EXPECT_EQ(parse_query("pipeline=%0a", allowed).status().message(), "a query parameter holds a control character");
  EXPECT_EQ(parse_query("pipeline=%g0", allowed).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(parse_query("a&&b", allowed).status().code(), Code::kInvalidArgument);
}

TEST(RequestTest, ReadsNumbers) {
  Request request;
  request.query = {{"page_size", "20"}, {"bad", "2x"}, {"large", "1001"}};
  EXPECT_EQ(*request.query_number("page_size", 50, 1000), 20u);
  EXPECT_EQ(*request.query_number("missing", 50, 1000), 50u);
  EXPECT_EQ(request.query_number("bad", 50, 1000).status().message(), "'bad' must be a number from 0 to 1000");
  EXPECT_EQ(request.query_number("large", 50, 1000).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(request.query_or("page_size", ""), "20");
  EXPECT_EQ(request.query_or("missing", "x"), "x");
  EXPECT_DEATH((void)request.param("id"), "no parameter id");
}

}  // namespace
}  // namespace freshet::http
