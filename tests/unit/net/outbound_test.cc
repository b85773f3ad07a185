#include "net/outbound.h"

#include <gtest/gtest.h>

#include "tests/unit/base/temp_dir.h"
#include "tests/unit/net/scripted_server.h"
#include "tests/unit/net/tls_server.h"

namespace freshet::net::test {
namespace {

AddressPolicy loopback() { return *AddressPolicy::parse({"127.0.0.0/8"}); }

OutboundRequest post_to(const std::string& url) {
  OutboundRequest request;
  request.url = url;
  request.headers = {{"X-A", "1"}};
  request.body = "{}";
  return request;
}

TEST(Outbound, PostsAndGivesTheStatus) {
  std::string seen;
  Result<int> status = 0;
  {
    ScriptedServer server(1, [&](Peer& peer, int) {
      ASSERT_TRUE(peer.expect("\r\n\r\n{}"));
      seen = peer.last();
      peer.send("HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nyes");
    });
    status = post_outbound(post_to(server.url("/hook?a=1")), loopback());
  }
  ASSERT_TRUE(status.is_ok()) << status.status().to_string();
  EXPECT_EQ(*status, 202);
  EXPECT_TRUE(seen.starts_with("POST /hook?a=1 HTTP/1.1\r\n")) << seen;
  EXPECT_NE(seen.find("X-A: 1\r\n"), std::string::npos);
  EXPECT_NE(seen.find("Content-Length: 2\r\n"), std::string::npos);
}

TEST(Outbound, AsksNobodyWhoIsNotAllowed) {
  const AddressPolicy nobody = *AddressPolicy::parse({});
  for (const char* url : {"http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/",
                          "http://[::ffff:127.0.0.1]:1/", "http://2130706433:1/", "http://127.1:1/", "http://0:1/"}) {
    Status status = post_outbound(post_to(url), nobody).status();
    EXPECT_EQ(status.code(), Code::kPermissionDenied) << url << ": " << status.to_string();
    EXPECT_NE(status.message().find("refused to connect"), std::string::npos) << status.message();
  }
  EXPECT_EQ(post_outbound(post_to(dead_url()), loopback()).status().code(), Code::kUnavailable);
}

TEST(Outbound, FollowsNoRedirect) {
  Result<int> status = 0;
  {
    ScriptedServer server(1, [&](Peer& peer, int) {
      ASSERT_TRUE(peer.expect("\r\n\r\n{}"));
      peer.send("HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    });
    status = post_outbound(post_to(server.url("/")), loopback());
  }
  EXPECT_EQ(*status, 307);
}

TEST(Outbound, EndsWithTheDeadlineOrWhenItIsGivenUp) {
  std::atomic<bool> is_cancelled = false;
  ScriptedServer server(2, [&](Peer& peer, int i) {
    is_cancelled = i == 1;
    peer.wait_for_close();
  });
  OutboundRequest request = post_to(server.url("/"));
  request.timeout = Duration::millis(50);
  EXPECT_EQ(post_outbound(request, loopback()).status().code(), Code::kDeadline);
  request.timeout = Duration::seconds(60);
  request.is_cancelled = &is_cancelled;
  EXPECT_EQ(post_outbound(request, loopback()).status().code(), Code::kCancelled);
}

TEST(Outbound, ReadsNoEndlessAnswer) {
  Result<int> status = 0;
  {
    ScriptedServer server(1, [](Peer& peer, int) {
      ASSERT_TRUE(peer.expect("\r\n\r\n{}"));
      peer.send("HTTP/1.1 200 OK\r\n\r\n" + std::string(1 << 20, 'x'));
      peer.wait_for_close();
    });
    status = post_outbound(post_to(server.url("/")), loopback());
  }
  ASSERT_TRUE(status.is_ok()) << status.status().to_string();
  EXPECT_EQ(*status, 200);
}

TEST(Outbound, SpeaksTlsWithWhomTheCertificateNames) {
  TempDir dir;
  const std::filesystem::path trusted = dir.path() / "ca.pem";
  const Certificate localhost("localhost", trusted), other("example.org", dir.path() / "other.pem");
  {
    TlsServer server(localhost);
    OutboundRequest request = post_to(server.url("localhost"));
    request.ca_file = trusted;
    Result<int> status = post_outbound(request, loopback());
    ASSERT_TRUE(status.is_ok()) << status.status().to_string();
    EXPECT_EQ(*status, 204);
  }
  {
    TlsServer server(localhost);
    Status status = post_outbound(post_to(server.url("localhost")), loopback()).status();
    EXPECT_EQ(status.code(), Code::kUnavailable) << "nobody trusts it";
    EXPECT_NE(status.message().find("certificate"), std::string::npos) << status.message();
  }
  {
    TlsServer server(other);
    OutboundRequest request = post_to(server.url("localhost"));
    request.ca_file = dir.path() / "other.pem";
    EXPECT_EQ(post_outbound(request, loopback()).status().code(), Code::kUnavailable) << "it is somebody else's";
  }
  OutboundRequest request = post_to("https://localhost:1/");
  request.ca_file = dir.path() / "none.pem";
  EXPECT_FALSE(post_outbound(request, loopback()).is_ok());
}

}  // namespace
}  // namespace freshet::net::test
