// What the daemon's own server never does to a WebSocketClient; the rest is in tests/unit/http/websocket_test.cc.
#include "net/websocket_client.h"

#include <gtest/gtest.h>

#include "tests/unit/net/scripted_server.h"

namespace freshet::net::test {
namespace {

Status connect(const std::string& url) {
  WebSocketOptions options;
  options.url = url;
  options.connect_timeout = Duration::millis(100);
  WebSocketCallbacks callbacks;
  callbacks.on_message = [](std::string) {};
  callbacks.on_close = [](const Status&) {};
  return WebSocketClient::connect(options, callbacks).status();
}

TEST(WebSocketClient, SaysThatNothingListens) {
  EXPECT_EQ(connect(dead_url()).code(), Code::kUnavailable);
  EXPECT_EQ(connect("ws://127.0.0.1:1").code(), Code::kInvalidArgument);
}

TEST(WebSocketClient, RefusesAnAnswerThatIsNoUpgrade) {
  ScriptedServer server(3, [](Peer& peer, int i) {
    ASSERT_TRUE(peer.expect("\r\n\r\n"));
    if (i == 0) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    if (i == 1) {
      peer.send(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
          "Sec-WebSocket-Accept: wrong\r\n\r\n");
    }
    if (i == 2) peer.wait_for_close();  // and never an answer
  });
  EXPECT_EQ(connect(server.url("/")).code(), Code::kUnavailable);
  EXPECT_EQ(connect(server.url("/")).code(), Code::kUnavailable);
  EXPECT_EQ(connect(server.url("/")).code(), Code::kDeadline);
}

}  // namespace
}  // namespace freshet::net::test
