// Every line of the gate as raw bytes over a loopback socket. HOST stands for the server's own address.
#include "daemon/http/header_gate.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/http/server_fixture.h"

namespace freshet::http::test {
namespace {

struct Vector {
  const char* name;
  std::string bytes;
  int status;
};

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::string numbered_fields(size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += "X-" + std::to_string(i) + ": 1\r\n";
  return out;
}

const std::string kZero(1, '\0');
const std::string kBody = "4\r\nabcd\r\n0\r\n\r\n";

// What must be refused, with the connection closed behind it.
const std::vector<Vector>& refused() {
  static const std::vector<Vector> vectors = {
      // Transfer-Encoding.
      {"te_gzip", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"te_gzip_then_length",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 501},
      {"te_identity", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: identity\r\n\r\n", 501},
      {"te_chunked_gzip", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, gzip\r\n\r\n" + kBody, 501},
      {"te_gzip_chunked", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + kBody, 501},
      {"te_xchunked", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n" + kBody, 501},
      {"te_other_case", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: Chunked\r\n\r\n" + kBody, 501},
      {"te_vertical_tab", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: \vchunked\r\n\r\n" + kBody, 400},
      {"te_quoted", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: \"chunked\"\r\n\r\n" + kBody, 501},
      {"te_empty", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\r\n\r\n", 501},
      {"te_twice",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + kBody,
       400},
      {"te_then_length",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + kBody, 400},
      {"length_then_te",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + kBody, 400},
      {"te_on_http_1_0", "POST /echo HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n" + kBody, 400},
      // Content-Length.
      {"length_list", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4, 4\r\n\r\nabcd", 400},
      {"length_twice_same", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
       400},
      {"length_twice_other", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
       400},
      {"length_plus", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: +4\r\n\r\nabcd", 400},
      {"length_minus", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: -4\r\n\r\nabcd", 400},
      {"length_hex", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0x4\r\n\r\nabcd", 400},
      {"length_empty", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length:\r\n\r\nabcd", 400},
      {"length_overflow", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 18446744073709551616\r\n\r\nabcd", 400},
      {"length_huge", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 18446744073709551615\r\n\r\nabcd", 413},
      {"length_not_ascii", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: \xef\xbc\x94\r\n\r\nabcd", 400},
      {"length_with_space_inside", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4 4\r\n\r\nabcd", 400},
      {"get_with_body", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {"get_with_chunks", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n" + kBody, 400},
      // Host.
      {"host_missing", "GET /healthz HTTP/1.1\r\n\r\n", 400},
      {"host_twice", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", 400},
      {"host_unlisted", "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421},
      {"host_other_port", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", 421},
      {"host_empty", "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 421},
      {"host_missing_on_1_0", "GET /healthz HTTP/1.0\r\n\r\n", 400},
      // Lines.
      {"folded_field", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\n 2\r\n\r\n", 400},
      {"folded_with_tab", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\n\t2\r\n\r\n", 400},
      {"folded_first_field", "GET /healthz HTTP/1.1\r\n Host: HOST\r\n\r\n", 400},
      {"lf_only", "GET /healthz HTTP/1.1\nHost: HOST\n\n", 400},
      {"lf_in_one_field", "GET /healthz HTTP/1.1\r\nHost: HOST\nX-A: 1\r\n\r\n", 400},
      {"bare_cr", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r2\r\n\r\n", 400},
      {"empty_line_first", "\r\nGET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"space_before_colon", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length : 4\r\n\r\nabcd", 400},
      {"no_colon", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A\r\n\r\n", 400},
      {"empty_name", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n: 1\r\n\r\n", 400},
      {"bad_name", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX(A): 1\r\n\r\n", 400},
      {"non_ascii_name", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-\xc3\xa4: 1\r\n\r\n", 400},
      {"zero_in_value", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: 1" + kZero + "2\r\n\r\n", 400},
      {"control_in_value", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: 1\x01\r\n\r\n", 400},
      {"idempotency_key_twice", "POST /echo HTTP/1.1\r\nHost: HOST\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n",
       400},
      {"authorization_twice",
       "GET /healthz HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400},
      // The request line.
      {"non_ascii_target", "GET /healthz\xc3\xa4 HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"control_in_target", "GET /health\x01z HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"zero_in_target", "GET /health" + kZero + "z HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"tab_in_target", "GET /health\tz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"delete_in_target", "GET /health\x7fz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"fragment", "GET /healthz#a HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"absolute_target", "GET http://HOST/healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"star_target", "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"connect", "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"two_spaces", "GET  /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"space_behind", "GET /healthz HTTP/1.1 \r\nHost: HOST\r\n\r\n", 400},
      {"tab_between", "GET\t/healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"http_0_9", "GET /healthz\r\n\r\n", 400},
      {"http_1_2", "GET /healthz HTTP/1.2\r\nHost: HOST\r\n\r\n", 505},
      {"http_2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"lower_case_version", "GET /healthz http/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"bad_method", "G(T /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"long_method", "ABCDEFGHIJKLMNOPQ /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 400},
      {"tls_hello", "\x16\x03\x01\x02\n", 400},
      // Limits.
      {"too_many_fields", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n" + numbered_fields(64) + "\r\n", 431},
      {"header_too_large", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: " + repeated("a", 8192) + "\r\n\r\n", 431},
      {"target_too_large", "GET /" + repeated("a", 8192) + " HTTP/1.1\r\nHost: HOST\r\n\r\n", 431},
      {"header_never_ends", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: " + repeated("a", 9000), 431},
      {"body_too_large", "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1001\r\n\r\n", 413},
      {"chunks_too_large",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + repeated("a", 1001) +
           "\r\n0\r\n\r\n",
       413},
      // Others.
      {"connection_names_host", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close, Host\r\n\r\n", 400},
      {"unknown_expect", "POST /echo HTTP/1.1\r\nHost: HOST\r\nExpect: 200-ok\r\nContent-Length: 4\r\n\r\nabcd", 417},
      // Chunks, which Beast reads.
      {"chunk_size_not_hex",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_size_negative",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_size_with_plus",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_size_with_0x",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_size_after_blank",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n 4\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_size_empty",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_size_with_comma",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n4,4\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_longer_than_its_size",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk_larger_than_the_limit",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nabcd\r\n", 413},
      {"trailer_with_lf", "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\n\r\n",
       400},
      {"chunk_size_overflow",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\na\r\n0\r\n\r\n",
       400},
      {"chunk_without_line_end",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcdXX0\r\n\r\n", 400},
      {"chunk_extension_with_lf",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n4;a=1\nabcd\r\n0\r\n\r\n", 400},
  };
  return vectors;
}

const std::vector<Vector>& accepted() {
  static const std::vector<Vector> vectors = {
      {"get", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
      {"http_1_0", "GET /healthz HTTP/1.0\r\nHost: HOST\r\n\r\n", 200},
      {"other_case_of_names", "GET /healthz HTTP/1.1\r\nhOsT: HOST\r\n\r\n", 200},
      {"localhost", "GET /healthz HTTP/1.1\r\nHost: LocalHost:PORT\r\n\r\n", 200},
      {"blanks_around_value", "GET /healthz HTTP/1.1\r\nHost: \t HOST \t\r\n\r\n", 200},
      {"latin_value", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-A: caf\xc3\xa9\r\n\r\n", 200},
      {"all_fields", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n" + numbered_fields(63) + "\r\n", 200},
      {"get_with_zero_length", "GET /healthz HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n", 200},
      {"length", "POST /echo HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 4\r\n\r\nabcd", 200},
      {"no_length", "POST /echo HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n\r\n", 200},
      {"chunks", "POST /echo HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nTransfer-Encoding: chunked\r\n\r\n" + kBody, 200},
      {"chunk_extension",
       "POST /echo HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nTransfer-Encoding: chunked\r\n\r\n4;a=1\r\nabcd\r\n0\r\n\r\n",
       200},
  };
  return vectors;
}

std::string filled(std::string bytes, uint16_t port, const std::string& token) {
  auto replace = [&](const std::string& what, const std::string& by) {
    for (size_t at = bytes.find(what); at != std::string::npos; at = bytes.find(what, at + by.size())) {
      bytes.replace(at, what.size(), by);
    }
  };
  replace("HOST", "127.0.0.1:" + std::to_string(port));
  replace("PORT", std::to_string(port));
  replace("AUTH", "Authorization: Bearer " + token);
  return bytes;
}

class GateTest : public HttpServerTest {
 protected:
  GateTest() {
    RouteOptions options;
    options.body_bytes_max = 1000;
    options.effect = Effect::kReads;
    router_.route<Permission::kPublic>(
        "GET", "/healthz", [](const Principal&, const Request&) -> Result<Response> { return text_response("fine"); });
    router_.route<Permission::kSubmit>(
        "POST", "/echo",
        [this](const Principal&, const Request& request) -> Result<Response> {
          ++handled_;
          return text_response(request.body);
        },
        options);
  }
  std::atomic<int> handled_ = 0;
};

// The token is right in all of them, so it is the gate that refuses.
std::string with_token(std::string bytes, const std::string& token) {
  if (bytes.starts_with("POST") && bytes.find("Authorization") == std::string::npos) {
    size_t line_end = bytes.find("\r\n");
    bytes.insert(line_end, "\r\nAuthorization: Bearer " + token);
  }
  return bytes;
}

TEST_F(GateTest, RefusesAndCloses) {
  start();
  for (const Vector& vector : refused()) {
    SCOPED_TRACE(vector.name);
    RawSocket socket(server_->port());
    // A second request behind it: it must never be answered.
    std::string bytes = filled(with_token(vector.bytes, token_), server_->port(), token_);
    socket.send(bytes + request("POST /echo", "Content-Length: 6\r\n", "hidden"));
    std::optional<std::string> answer = socket.read_all();
    ASSERT_TRUE(answer.has_value()) << "the connection stays open";
    EXPECT_TRUE(answer->starts_with("HTTP/1.1 " + std::to_string(vector.status) + " ")) << *answer;
    EXPECT_NE(answer->find("Connection: close\r\n"), std::string::npos) << *answer;
    EXPECT_EQ(answer->find("\nHTTP/1.1 "), std::string::npos) << "two answers: " << *answer;
    EXPECT_EQ(answer->find("hidden"), std::string::npos);
  }
  EXPECT_EQ(handled_, 0);
  EXPECT_GE(refused().size(), 36u);
}

TEST_F(GateTest, RefusesTheSameWhenEachByteComesAlone) {
  start();
  for (const Vector& vector : refused()) {
    if (vector.bytes.size() > 400) continue;  // the limits; their bytes are alike
    SCOPED_TRACE(vector.name);
    std::string bytes = filled(with_token(vector.bytes, token_), server_->port(), token_);
    RawSocket socket(server_->port());
    for (char byte : bytes) socket.send(std::string_view(&byte, 1));
    socket.finish_sending();
    std::optional<std::string> answer = socket.read_all();
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(answer->starts_with("HTTP/1.1 " + std::to_string(vector.status) + " ")) << *answer;
  }
  EXPECT_EQ(handled_, 0);
}

TEST_F(GateTest, AcceptsWhatIsRight) {
  start();
  for (const Vector& vector : accepted()) {
    SCOPED_TRACE(vector.name);
    RawSocket socket(server_->port());
    socket.send(filled(vector.bytes, server_->port(), token_));
    socket.finish_sending();
    std::optional<std::string> answer = socket.read_all();
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(answer->starts_with("HTTP/1.1 " + std::to_string(vector.status) + " ")) << *answer;
  }
}

TEST_F(GateTest, ALineEndedByLfAloneInAChunkEndsWithTheDeadline) {
  RouteOptions options;
  options.deadline = Duration::millis(100);
  options.effect = Effect::kReads;
  router_.route<Permission::kSubmit>(
      "POST", "/quick", [](const Principal&, const Request&) -> Result<Response> { return text_response(""); },
      options);
  start();
  RawSocket socket(server_->port());
  socket.send(request("POST /quick", "Transfer-Encoding: chunked\r\n", "4\nabcd\n0\n\n"));
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 408 ") || answer->starts_with("HTTP/1.1 400 ")) << *answer;
}

TEST_F(GateTest, TrailersReachNobody) {
  start();
  RawSocket socket(server_->port());
  socket.send("POST /echo HTTP/1.1\r\nHost: " + host() +
              "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nAuthorization: Bearer " + token_ +
              "\r\n\r\n");
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 401 ")) << *answer;
}

TEST(HeaderGate, ReadsWhatTheServerNeeds) {
  std::string bytes =
      "PUT /a%20b?x=1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 12\r\nConnection: Keep-Alive, Upgrade\r\n"
      "Upgrade: WebSocket\r\nExpect: 100-continue\r\n\r\n";
  GateResult result = check_head(bytes, {"h:1"});
  ASSERT_FALSE(result.refusal.has_value()) << result.refusal->reason;
  EXPECT_EQ(result.head.method, "PUT");
  EXPECT_EQ(result.head.path, "/a%20b");
  EXPECT_EQ(result.head.query, "x=1");
  EXPECT_EQ(result.head.content_length, 12u);
  EXPECT_TRUE(result.head.wants_websocket);
  EXPECT_TRUE(result.head.expects_continue);
  EXPECT_FALSE(result.head.wants_close);
}

}  // namespace
}  // namespace freshet::http::test
