#include <gtest/gtest.h>

#include <future>
#include <latch>

#include "tests/unit/http/server_fixture.h"

namespace freshet::http::test {
namespace {

class ServerTest : public HttpServerTest {
 protected:
  net::HttpRequest get(const std::string& target) const { return {"GET", url(target), {}, "", {}, {}}; }

  void add_text(const std::string& path, const std::string& text) {
    router_.route<Permission::kRead>(
        "GET", path, [text](const Principal&, const Request&) -> Result<Response> { return text_response(text); });
  }
  // A handler that stays until it is released; both latches outlive the pool's threads.
  void add_slow(const std::string& path, RouteOptions options = {}) {
    router_.route<Permission::kRead>(
        "GET", path,
        [this](const Principal&, const Request&) -> Result<Response> {
          entered_.count_down();
          released_.wait();
          return text_response("done");
        },
        std::move(options));
  }
  std::latch entered_{1};
  std::latch released_{1};
  std::latch all_busy_{4};
};

TEST_F(ServerTest, AnswersWhatTheHandlerSays) {
  router_.route<Permission::kRead>("GET", "/runs/{id}",
                                   [](const Principal& principal, const Request& request) -> Result<Response> {
                                     Response response =
                                         text_response(principal.name() + " " + request.param("id") + " " +
                                                       request.query_or("page_size", "-") + " " + request.peer);
                                     response.status = 202;
                                     response.headers.emplace_back("X-Revision", "12");
                                     return response;
                                   },
                                   {.query = {"page_size"}});
  start();
  net::HttpClient http = client();
  Result<net::HttpResponse> answer = http.request(get("/runs/a%20b?page_size=20"));
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->status, 202);
  EXPECT_EQ(answer->body, "admin a b 20 127.0.0.1");
  EXPECT_EQ(answer->header("x-revision"), "12");
  EXPECT_EQ(answer->header("cache-control"), "no-store");
  EXPECT_EQ(answer->header("x-content-type-options"), "nosniff");
  EXPECT_EQ(http.request(get("/runs/1?pagesize=20"))->status, 400);
  EXPECT_EQ(http.request(get("/runs/1?page_size=1&page_size=1"))->status, 400);
  EXPECT_EQ(http.request(get("/runs/%2e%2e"))->status, 400);
  EXPECT_EQ(metrics_.answers("GET /runs/{id} 202"), 1);
  EXPECT_EQ(metrics_.answers("GET /runs/{id} 400"), 2);
  EXPECT_EQ(metrics_.open(), 1) << "one connection for all of them";
}

// Calls each route of the table as nobody and as somebody who may only read.
TEST_F(ServerTest, OnlyThreeRoutesAreOpen) {
  auto fine = [](const Principal&, const Request&) -> Result<Response> { return text_response("fine"); };
  for (const char* path : {"/metrics", "/healthz", "/readyz"}) router_.route<Permission::kPublic>("GET", path, fine);
  router_.route<Permission::kRead>("GET", "/api/v1/runs/{id}", fine);
  router_.mutation<Permission::kSubmit>("/api/v1/runs", Mutation{fine});
  router_.mutation<Permission::kOperate>("/api/v1/apply", Mutation{fine});
  router_.mutation<Permission::kPromote>("/api/v1/models/{model}/promote", Mutation{fine});
  router_.upload<Permission::kAgent>("PUT", "/api/v1/artifacts/{digest}/files/{name*}",
                                     [](const Principal&, const Request&) -> Result<std::unique_ptr<UploadSink>> {
                                       ADD_FAILURE() << "reached without a token";
                                       return not_found("");
                                     });
  start();
  int open = 0;
  for (const Route* route : router_.routes()) {
    std::string path = route->pattern;
    for (size_t at = path.find('{'); at != std::string::npos; at = path.find('{')) {
      path.replace(at, path.find('}') - at + 1, "x");
    }
    SCOPED_TRACE(route->method + " " + path);
    net::HttpClient nobody;
    Result<net::HttpResponse> answer = nobody.request({route->method, url(path), {}, "", {}, {}});
    ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
    bool is_public = route->permission == Permission::kPublic;
    EXPECT_EQ(answer->status, is_public ? 200 : 401);
    EXPECT_EQ(answer->header("www-authenticate"), is_public ? "" : "Bearer");
    open += is_public ? 1 : 0;

    net::HttpClientOptions options;
    options.bearer_token = reader_token_;
    net::HttpClient reader(options);
    answer = reader.request({route->method, url(path), {}, "", {}, {}});
    ASSERT_TRUE(answer.is_ok());
    EXPECT_EQ(answer->status, is_public || route->permission == Permission::kRead ? 200 : 403);
  }
  EXPECT_EQ(open, 3);
}

TEST_F(ServerTest, UnknownPathsAndMethods) {
  add_text("/runs", "all");
  start();
  net::HttpClient http = client();
  Result<net::HttpResponse> answer = http.request(get("/run"));
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(net::to_status(*answer).message(), "there is nothing at /run");
  answer = http.request({"DELETE", url("/runs"), {}, "", {}, {}});
  EXPECT_EQ(answer->status, 405);
  EXPECT_EQ(answer->header("allow"), "GET");
}

TEST_F(ServerTest, TooManyWrongTokensAreAnsweredWith429) {
  add_text("/runs", "all");
  start();
  net::HttpClientOptions options;
  SeededRandom random(1);
  options.bearer_token = new_token("admin", random);
  net::HttpClient http(options);
  int tries = 0;
  while (http.request(get("/runs"))->status == 401) ASSERT_LT(++tries, 100);
  EXPECT_EQ(http.request(get("/runs"))->status, 429);
  EXPECT_EQ(client().request(get("/runs"))->status, 200) << "a valid token passes";
}

TEST_F(ServerTest, ErrorsOfHandlers) {
  router_.route<Permission::kRead>("GET", "/missing", [](const Principal&, const Request&) -> Result<Response> {
    return not_found("run 7 does not exist");
  });
  router_.route<Permission::kRead>("GET", "/mistake", [](const Principal&, const Request&) -> Result<Response> {
    return internal("secret detail");
  });
  router_.route<Permission::kRead>("GET", "/throws", [](const Principal&, const Request&) -> Result<Response> {
    throw std::runtime_error("secret detail");
  });
  start();
  net::HttpClient http = client();
  Result<net::HttpResponse> answer = http.request(get("/missing"));
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->body, "{\"code\":\"not_found\",\"message\":\"run 7 does not exist\"}\n");
  for (const char* path : {"/mistake", "/throws"}) {
    answer = http.request(get(path));
    EXPECT_EQ(answer->status, 500);
    EXPECT_EQ(answer->body.find("secret"), std::string::npos) << answer->body;
  }
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  router_.route<Permission::kSubmit>(
      "POST", "/echo",
      [](const Principal&, const Request& request) -> Result<Response> { return text_response(request.body); },
      {.effect = Effect::kReads});
  start();
  RawSocket socket(server_->port());
  std::string bytes;
  for (int i = 0; i < 50; ++i) {
    std::string body = "<" + std::to_string(i) + ">";
    bytes += i % 2 ? request("POST /echo", "Content-Length: " + std::to_string(body.size()) + "\r\n", body)
                   : request("POST /echo", "Transfer-Encoding: chunked\r\n",
                             std::to_string(body.size()) + "\r\n" + body + "\r\n0\r\n\r\n");
  }
  socket.send(bytes);
  std::string answers = socket.read_until("<49>");
  size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find("<" + std::to_string(i) + ">", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST_F(ServerTest, ConnectionCloseIsHonoured) {
  add_text("/runs", "all");
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /runs", "Connection: close\r\n"));
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_NE(answer->find("Connection: close\r\n"), std::string::npos);
}

TEST_F(ServerTest, ASlowHeaderIsCutOff) {
  options_.header_limit = Duration::millis(100);
  add_text("/runs", "all");
  start();
  RawSocket socket(server_->port());
  socket.send("GET /runs HTTP/1.1\r\nHost:");
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value()) << "still open";
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 408 ")) << *answer;
}

TEST_F(ServerTest, AnIdleConnectionIsClosedWithoutAWord) {
  options_.idle_limit = Duration::millis(100);
  add_text("/runs", "all");
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /runs"));
  socket.read_until("all");
  socket.forget();
  EXPECT_EQ(socket.read_all(), "");
}

TEST_F(ServerTest, ASlowBodyIsCutOff) {
  router_.route<Permission::kSubmit>(
      "POST", "/echo", [](const Principal&, const Request&) -> Result<Response> { return text_response(""); },
      {.deadline = Duration::millis(100), .effect = Effect::kReads});
  start();
  RawSocket socket(server_->port());
  socket.send(request("POST /echo", "Content-Length: 10\r\n", "abc"));
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 408 ")) << *answer;
}

TEST_F(ServerTest, AHandlerThatTakesTooLongIsNotWaitedFor) {
  add_slow("/slow", {.deadline = Duration::millis(100), .effect = Effect::kReads});
  add_text("/runs", "all");
  start();
  net::HttpClient http = client();
  Result<net::HttpResponse> answer = http.request(get("/slow"));
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->status, 504);
  EXPECT_EQ(http.request(get("/runs"))->body, "all") << "the connection lives on";
  released_.count_down();
}

TEST_F(ServerTest, AFullPoolIsAnsweredNotQueuedForEver) {
  add_text("/runs", "all");
  start();
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(pool_
                    .submit([this] {
                      all_busy_.count_down();
                      released_.wait();
                    })
                    .is_ok());
  }
  all_busy_.wait();
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(pool_.submit([] {}).is_ok());
  Result<net::HttpResponse> answer = client().request(get("/runs"));
  released_.count_down();
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(answer->status, 503);
  EXPECT_EQ(answer->header("Retry-After"), "1");
  EXPECT_EQ(net::to_status(*answer).code(), Code::kUnavailable);
}

TEST_F(ServerTest, ContinueIsSentWhereItIsExpected) {
  router_.route<Permission::kSubmit>(
      "POST", "/echo",
      [](const Principal&, const Request& request) -> Result<Response> { return text_response("got " + request.body); },
      {.effect = Effect::kReads});
  start();
  RawSocket socket(server_->port());
  socket.send(request("POST /echo", "Content-Length: 4\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  socket.send("abcd");
  socket.read_until("got abcd");
}

TEST_F(ServerTest, TooManyConnectionsAreClosed) {
  options_.connections_max = 2;
  add_text("/runs", "all");
  start();
  RawSocket first(server_->port());
  RawSocket second(server_->port());
  for (RawSocket* socket : {&first, &second}) {
    socket->send(request("GET /runs"));
    socket->read_until("all");
  }
  RawSocket third(server_->port());
  EXPECT_EQ(third.read_all(), "");
}

TEST_F(ServerTest, TooManyConnectionsOfOnePeerAreClosed) {
  options_.connections_per_peer_max = 1;
  add_text("/runs", "all");
  start();
  {
    RawSocket first(server_->port());
    first.send(request("GET /runs"));
    first.read_until("all");
    RawSocket second(server_->port());
    EXPECT_EQ(second.read_all(), "");
    RawSocket other(server_->port(), "127.0.0.2");
    other.send(request("GET /runs"));
    other.read_until("all");
    first.send(request("GET /runs", "Connection: close\r\n"));
    EXPECT_TRUE(first.read_all().has_value());
  }
  RawSocket next(server_->port());
  next.send(request("GET /runs"));
  next.read_until("all");
}

TEST_F(ServerTest, AReaderThatNeverReadsIsCutOff) {
  options_.write_limit = Duration::millis(100);
  options_.connections_per_peer_max = 1;
  add_text("/large", std::string(32 << 20, 'x'));
  start();
  RawSocket deaf(server_->port());
  deaf.send(request("GET /large"));
  // The place that it held is free again when it was cut off.
  std::optional<std::string> answer;
  const SystemClock clock;
  const Time end = clock.monotonic() + Duration::seconds(10);
  while ((!answer || answer->empty()) && clock.monotonic() < end) {
    RawSocket next(server_->port());
    next.send(request("GET /nothing", "Connection: close\r\n"));
    answer = next.read_all();
  }
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 404 ")) << *answer;
}

TEST_F(ServerTest, BytesOneByOneDoNotLengthenTheDeadlines) {
  options_.header_limit = Duration::millis(200);
  router_.route<Permission::kSubmit>(
      "POST", "/echo", [](const Principal&, const Request&) -> Result<Response> { return text_response(""); },
      {.deadline = Duration::millis(200), .effect = Effect::kReads});
  start();
  const std::string header = request("GET /runs", "X-A: " + std::string(1000, 'a') + "\r\n");
  RawSocket slow_header(server_->port());
  EXPECT_LT(slow_header.drip(header, 10), 100u);
  EXPECT_TRUE(slow_header.read_all().value_or("").starts_with("HTTP/1.1 408 "));
  RawSocket slow_body(server_->port());
  slow_body.send(request("POST /echo", "Transfer-Encoding: chunked\r\n"));
  EXPECT_LT(slow_body.drip(std::string(1000, '0'), 10), 100u);
  EXPECT_TRUE(slow_body.read_all().value_or("").starts_with("HTTP/1.1 408 "));
}

TEST_F(ServerTest, StopLetsARequestInProgressEnd) {
  add_slow("/slow");
  start();
  RawSocket idle(server_->port());
  RawSocket busy(server_->port());
  busy.send(request("GET /slow"));
  entered_.wait();
  auto stopped = std::async(std::launch::async, [&] { server_->stop(Duration::seconds(10)); });
  EXPECT_EQ(idle.read_all(), "") << "an idle connection ends at once";
  released_.count_down();
  std::optional<std::string> answer = busy.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ends_with("done")) << *answer;
  EXPECT_NE(answer->find("Connection: close"), std::string::npos);
  stopped.get();
}

TEST_F(ServerTest, StopCutsOffWhatDoesNotEnd) {
  add_slow("/slow");
  start();
  RawSocket busy(server_->port());
  busy.send(request("GET /slow"));
  entered_.wait();
  server_->stop(Duration::millis(50));
  EXPECT_EQ(busy.read_all(), "");
  released_.count_down();
}

// Connections that end by themselves while the server stops.
TEST_F(ServerTest, NothingOfAConnectionOutlivesStop) {
  io_.start();
  for (int i = 0; i < 300; ++i) {
    RecordingMetrics metrics;
    auto server = HttpServer::start(options_, router_, authenticator_, io_, pool_, &metrics);
    ASSERT_TRUE(server.is_ok()) << server.status().to_string();
    RawSocket socket((*server)->port());
    socket.send("GET /none HTTP/1.1\r\nConnection: close\r\n\r\n");
    socket.finish_sending();
    (*server)->stop(Duration::seconds(5));
    ASSERT_EQ(metrics.open(), 0) << "server " << i;
  }
}

TEST_F(ServerTest, APortInUseIsToldWithAdvice) {
  start();
  HttpServerOptions again = options_;
  again.listen = host();
  Status status = HttpServer::start(again, router_, authenticator_, io_, pool_).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  std::string port = std::to_string(server_->port());
  EXPECT_EQ(status.message(),
            "port " + port +
                " is in use: another freshetd or another program listens on it; stop that one, or choose "
                "another port with --listen 127.0.0.1:PORT (0 takes a free one)");
}

TEST_F(ServerTest, OnlyLoopbackIsListenedOn) {
  start();
  for (const char* listen : {"0.0.0.0:0", "192.168.1.1:7070", "[::]:0"}) {
    HttpServerOptions options;
    options.listen = listen;
    Status status = HttpServer::start(options, router_, authenticator_, io_, pool_).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("there is no TLS yet"), std::string::npos) << status.message();
  }
  for (const char* listen :
       {"127.0.0.1", "7070", "127.0.0.1:", "127.0.0.1:70700", "127.0.0.1:x", "host.example:1", ""}) {
    HttpServerOptions options;
    options.listen = listen;
    EXPECT_EQ(HttpServer::start(options, router_, authenticator_, io_, pool_).status().code(), Code::kInvalidArgument)
        << listen;
  }
}

}  // namespace
}  // namespace freshet::http::test
