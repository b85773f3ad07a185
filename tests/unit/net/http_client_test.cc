#include "net/http_client.h"

#include <gtest/gtest.h>

#include "tests/unit/net/scripted_server.h"

namespace freshet::net::test {
namespace {

constexpr std::string_view kFine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

HttpRequest get(const std::string& url) { return {"GET", url, {}, "", {}, {}}; }

HttpClientOptions quick() {
  HttpClientOptions options;
  options.idle_timeout = Duration::millis(100);
  return options;
}

TEST(HttpClient, SendsWhatItIsTold) {
  std::string seen;
  ScriptedServer server(1, [&](Peer& peer, int) {
    ASSERT_TRUE(peer.expect("body!"));
    seen = peer.last();
    peer.send(kFine);
  });
  HttpClientOptions options;
  options.bearer_token = "fsh_x";
  HttpClient client(options);
  Result<HttpResponse> answer = client.request({"POST", server.url("/a?b=c"), {{"X-A", "1"}}, "body!", {}, {}});
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->body, "fine");
  EXPECT_EQ(answer->header("CONTENT-LENGTH"), "4");
  EXPECT_TRUE(seen.starts_with("POST /a?b=c HTTP/1.1\r\n")) << seen;
  for (const char* field :
       {"X-A: 1\r\n", "Authorization: Bearer fsh_x\r\n", "Content-Length: 5\r\n", "Host: 127.0.0.1:"}) {
    EXPECT_NE(seen.find(field), std::string::npos) << seen;
  }
}

TEST(HttpClient, SaysThatNothingListens) {
  HttpClient client;
  Status status = client.request(get(dead_url())).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(status.message().starts_with("cannot reach 127.0.0.1:")) << status.message();
  EXPECT_TRUE(status.message().ends_with("Connection refused")) << status.message();
}

TEST(HttpClient, DoesNotWaitForEver) {
  ScriptedServer server(2, [](Peer& peer, int i) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    if (i == 1) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    peer.wait_for_close();
  });
  HttpClient client(quick());
  EXPECT_EQ(client.request(get(server.url("/"))).status().code(), Code::kDeadline);
  EXPECT_EQ(client.request(get(server.url("/"))).status().code(), Code::kDeadline);
}

TEST(HttpClient, TheDeadlineOfARequestHoldsThoughBytesKeepComing) {
  ScriptedServer server(1, [](Peer& peer, int) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.wait_for_close();
  });
  HttpClient client;
  HttpRequest request = get(server.url("/"));
  request.timeout = Duration::millis(100);
  EXPECT_EQ(client.request(request).status().code(), Code::kDeadline);
}

TEST(HttpClient, AnAnswerThatEndsEarlyIsNone) {
  ScriptedServer server(3, [](Peer& peer, int i) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    if (i == 0) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    if (i == 1) peer.send("not HTTP at all\r\n\r\n");
  });
  HttpClient client;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.request(get(server.url("/"))).status().code(), Code::kUnavailable) << i;
}

TEST(HttpClient, AKeptConnectionThatIsGoneIsReplacedOnce) {
  ScriptedServer server(2, [](Peer& peer, int) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    peer.send(kFine);
  });
  HttpClient client;
  EXPECT_EQ(client.request(get(server.url("/")))->body, "fine");
  EXPECT_EQ(client.request(get(server.url("/")))->body, "fine");
}

TEST(HttpClient, AKeptConnectionIsUsedAgain) {
  ScriptedServer server(1, [](Peer& peer, int) {
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(peer.expect("\r\n\r\n"));
      peer.send(kFine);
    }
  });
  HttpClient client;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.request(get(server.url("/")))->body, "fine");
}

TEST(HttpClient, APostIsNeverSentTwice) {
  int connections = 0;
  {
    ScriptedServer server(1, [&](Peer& peer, int) {
      ++connections;
      ASSERT_TRUE(peer.expect("\r\n\r\n"));
      peer.send(kFine);
      ASSERT_TRUE(peer.expect("\r\n\r\n"));  // and no answer
    });
    HttpClient client;
    EXPECT_EQ(client.request(get(server.url("/")))->body, "fine");
    EXPECT_EQ(client.request({"POST", server.url("/"), {}, "", {}, {}}).status().code(), Code::kUnavailable);
  }
  EXPECT_EQ(connections, 1);
}

TEST(HttpClient, APostWithAKeyIsSentOnceMore) {
  std::vector<std::string> seen;
  Result<HttpResponse> answer = unavailable("nothing yet");
  {
    ScriptedServer server(2, [&](Peer& peer, int i) {
      ASSERT_TRUE(peer.expect("\r\n\r\n"));
      seen.push_back(peer.last());
      // The answer breaks off in the middle, then comes whole.
      peer.send(kFine.substr(0, kFine.size() - (i == 0 ? 2 : 0)));
    });
    HttpClient client;
    answer = client.request({"POST", server.url("/"), {{"Idempotency-Key", "k1"}}, "", {}, {}});
  }
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->body, "fine");
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0], seen[1]);
}

TEST(HttpClient, BodiesHaveABoundUnlessTheyGoToASink) {
  ScriptedServer server(2, [](Peer& peer, int) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + std::string(2000, 'x'));
  });
  HttpClientOptions options;
  options.response_bytes_max = 1000;
  HttpClient client(options);
  EXPECT_EQ(client.request(get(server.url("/"))).status().code(), Code::kResourceExhausted);
  std::string got;
  Result<HttpResponse> answer = client.request(get(server.url("/")), [&](std::string_view bytes) {
    got += bytes;
    return Status::ok();
  });
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(got.size(), 2000u);
  EXPECT_EQ(answer->body, "");
}

TEST(HttpClient, ASinkEndsTheRequestAndARefusalDoesNotReachIt) {
  ScriptedServer server(2, [](Peer& peer, int i) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    peer.send(i == 0 ? kFine : "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
  });
  HttpClient client;
  auto full = [](std::string_view) { return resource_exhausted("disk full"); };
  EXPECT_EQ(client.request(get(server.url("/")), full).status().message(), "disk full");
  Result<HttpResponse> answer = client.request(get(server.url("/")), full);
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->body, "none");
}

TEST(HttpClient, ARefusalBeforeTheBodyIsSentIsSeen) {
  ScriptedServer server(1, [](Peer& peer, int) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    peer.wait_for_close();
  });
  HttpClient client;
  Result<HttpResponse> answer = client.request({"PUT", server.url("/"), {}, std::string(32 << 20, 'x'), {}, {}});
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->status, 413);
}

TEST(HttpClient, CancelEndsAStream) {
  HttpClient client;
  ScriptedServer server(1, [&](Peer& peer, int) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n");
    client.cancel();
    peer.wait_for_close();
  });
  Status status = client.stream_events(get(server.url("/")), [](const ServerEvent&) { return true; }).status();
  EXPECT_EQ(status.code(), Code::kCancelled) << status.to_string();
  EXPECT_EQ(client.request(get(server.url("/"))).status().code(), Code::kCancelled);
}

TEST(HttpClient, NothingCanBeSmuggledThroughArguments) {
  HttpClient client;
  EXPECT_EQ(client.request({"GET", "http://127.0.0.1:1/", {{"X-A", "1\r\nX-B: 2"}}, "", {}, {}}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(client.request({"GET\r\n", "http://127.0.0.1:1/", {}, "", {}, {}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(client.request(get("http://127.0.0.1:1/\r\nX: 1")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(client.request({"PUT", dead_url(), {}, "", "/does/not/exist", {}}).status().code(), Code::kUnavailable);
}

TEST(ToStatus, ReadsTheDaemonsErrorOrTheNumber) {
  EXPECT_TRUE(to_status({204, {}, ""}).is_ok());
  Status told = to_status({409, {}, R"({"code":"conflict","message":"alias moved","more":1})"});
  EXPECT_EQ(told.to_string(), "conflict: alias moved");
  EXPECT_EQ(to_status({404, {}, "<html>"}).code(), Code::kNotFound);
  EXPECT_EQ(to_status({401, {}, ""}).code(), Code::kUnauthenticated);
  EXPECT_EQ(to_status({429, {}, ""}).code(), Code::kResourceExhausted);
  EXPECT_EQ(to_status({503, {}, R"({"code":"ok"})"}).code(), Code::kUnavailable);
  EXPECT_EQ(to_status({500, {}, ""}).code(), Code::kInternal);
  EXPECT_EQ(to_status({418, {}, ""}).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::net::test
