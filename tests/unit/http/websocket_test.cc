#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>

#include "net/websocket_client.h"
#include "tests/unit/http/server_fixture.h"

namespace freshet::http::test {
namespace {

// Waits for what another thread reports, in order.
template <class T>
class Mailbox {
 public:
  void put(T item) {
    std::lock_guard lock(mutex_);
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  std::optional<T> take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::milliseconds(kReadLimitMs), [this] { return !items_.empty(); }))
      return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> items_;
};

class Echo final : public WebSocketListener {
 public:
  void on_open(std::shared_ptr<WebSocketSession> session) override {
    EXPECT_FALSE(is_in_call_.exchange(true));
    opened.put(session);
    is_in_call_ = false;
  }
  void on_message(WebSocketSession& session, std::string bytes) override {
    EXPECT_FALSE(is_in_call_.exchange(true)) << "two calls at a time";
    newest = bytes;
    if (bytes == "close me") {
      session.close("as you wish");
    } else {
      session.send("echo " + bytes);  // in vain when the client has closed meanwhile
    }
    is_in_call_ = false;
  }
  void on_close(WebSocketSession& session, const Status& reason) override {
    EXPECT_FALSE(is_in_call_.exchange(true));
    EXPECT_FALSE(session.send("too late"));
    closed.put(reason);
    is_in_call_ = false;
  }
  Mailbox<std::shared_ptr<WebSocketSession>> opened;
  Mailbox<Status> closed;
  std::string newest;  // read behind on_close

 private:
  std::atomic<bool> is_in_call_ = false;
};

class WebSocketTest : public HttpServerTest {
 protected:
  WebSocketTest() { router_.websocket<Permission::kAgent>("/connect", echo_); }

  Result<std::unique_ptr<net::WebSocketClient>> connect(const std::string& token) {
    net::WebSocketOptions options;
    options.url = url("/connect");
    options.bearer_token = token;
    net::WebSocketCallbacks callbacks;
    callbacks.on_message = [this](std::string frame) { received_.put(std::move(frame)); };
    callbacks.on_close = [this](const Status& reason) { ended_.put(reason); };
    return net::WebSocketClient::connect(options, callbacks);
  }

  Echo echo_;
  Mailbox<std::string> received_;
  Mailbox<Status> ended_;
};

TEST_F(WebSocketTest, FramesGoBothWaysInOrder) {
  start();
  auto client = connect(token_);
  ASSERT_TRUE(client.is_ok()) << client.status().to_string();
  auto session = echo_.opened.take();
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ((*session)->principal().name(), "admin");
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE((*client)->send(std::to_string(i)).is_ok());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(received_.take(), "echo " + std::to_string(i));
  std::string large(3 << 20, 'x');
  ASSERT_TRUE((*client)->send(large).is_ok());
  EXPECT_EQ(received_.take(), "echo " + large);
  ASSERT_TRUE((*session)->send("from here"));
  EXPECT_EQ(received_.take(), "from here");
  session->reset();

  client->reset();
  std::optional<Status> ended = ended_.take();
  ASSERT_TRUE(ended.has_value());
  EXPECT_TRUE(ended->is_ok()) << ended->to_string();
  std::optional<Status> closed = echo_.closed.take();
  ASSERT_TRUE(closed.has_value());
  EXPECT_EQ(closed->message(), "closed by the peer");
}

TEST_F(WebSocketTest, AFrameSentRightBeforeTheEndStillArrives) {
  start();
  auto client = connect(token_);
  ASSERT_TRUE(client.is_ok());
  ASSERT_TRUE((*client)->send("last").is_ok());
  (*client)->close();
  ASSERT_TRUE(echo_.closed.take().has_value());
  EXPECT_EQ(echo_.newest, "last");
}

TEST_F(WebSocketTest, RefusalsSayWhy) {
  start();
  EXPECT_EQ(connect("").status().code(), Code::kUnauthenticated);
  EXPECT_EQ(connect(reader_token_).status().to_string(), "permission_denied: reader lacks the permission 'agent'");
  Result<net::HttpResponse> answer = client().request({"GET", url("/connect"), {}, "", {}, {}});
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(answer->status, 426);
}

TEST_F(WebSocketTest, TheServerCloses) {
  start();
  auto client = connect(token_);
  ASSERT_TRUE(client.is_ok());
  ASSERT_TRUE((*client)->send("close me").is_ok());
  std::optional<Status> ended = ended_.take();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->to_string(), "unavailable: the daemon closed the connection: as you wish");
  EXPECT_EQ((*client)->send("more").code(), Code::kUnavailable);
  ASSERT_TRUE(echo_.closed.take().has_value());
}

TEST_F(WebSocketTest, StopClosesThem) {
  start();
  auto client = connect(token_);
  ASSERT_TRUE(client.is_ok());
  ASSERT_TRUE(echo_.opened.take().has_value());
  server_->stop(Duration::seconds(5));
  EXPECT_EQ(ended_.take()->to_string(), "unavailable: the daemon closed the connection: the daemon is stopping");
  ASSERT_TRUE(echo_.closed.take().has_value());
}

TEST_F(WebSocketTest, AFrameThatIsTooLargeEndsTheConnection) {
  options_.websocket_frame_bytes_max = 1000;
  start();
  auto client = connect(token_);
  ASSERT_TRUE(client.is_ok());
  ASSERT_TRUE((*client)->send(std::string(1001, 'x')).is_ok());
  EXPECT_FALSE(ended_.take()->is_ok());
  std::optional<Status> closed = echo_.closed.take();
  ASSERT_TRUE(closed.has_value());
  EXPECT_FALSE(closed->is_ok());
}

TEST_F(WebSocketTest, APeerThatDoesNotReadIsClosed) {
  options_.websocket_queue_bytes_max = 1 << 20;
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /connect",
                      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
  EXPECT_TRUE(socket.read_until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
  auto session = echo_.opened.take();
  ASSERT_TRUE(session.has_value());
  std::string frame(256 << 10, 'x');
  int sent = 0;
  while ((*session)->send(frame)) ASSERT_LT(++sent, 1000) << "the queue has no bound";
  server_->stop(Duration::millis(100));
  ASSERT_TRUE(echo_.closed.take().has_value());
}

TEST_F(WebSocketTest, AnUpgradeWithBytesBehindItIsRefused) {
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /connect",
                      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                      "early"));
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 426 ")) << *answer;
}

}  // namespace
}  // namespace freshet::http::test
