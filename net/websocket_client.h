// A WebSocket client with a thread of its own: the agent's link to the daemon. connect() blocks until the upgrade is
// accepted; then frames arrive on the client's thread, and any thread may send. Pings keep the connection alive and
// find a dead one. One object is one connection: to reconnect, make another. Owned by one thread, never by its own
// callbacks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "net/http_client.h"

namespace freshet::net {

struct WebSocketOptions {
  std::string url;  // "http://127.0.0.1:7070/api/v1/agents/connect"
  std::string bearer_token;
  std::vector<HttpHeader> headers;
  Duration connect_timeout = Duration::seconds(5);
  Duration idle_timeout = Duration::seconds(10);  // silence; a ping goes out at half of it
  size_t frame_bytes_max = 16u << 20;
  size_t queue_bytes_max = 64u << 20;  // frames that wait to be sent
};

struct WebSocketCallbacks {
  // One whole binary frame. It may block, which stops reading (and the daemon's frames wait in the socket).
  std::function<void(std::string frame)> on_message;
  // Once, last. Why the connection is gone; ok when close() was called here.
  std::function<void(const Status& reason)> on_close;
};

class WebSocketClient {
 public:
  // The daemon's refusal (unauthenticated, permission_denied ...), unavailable, deadline or invalid_argument. Callbacks
  // may start before this returns.
  static Result<std::unique_ptr<WebSocketClient>> connect(WebSocketOptions options, WebSocketCallbacks callbacks);

  // Closes, waits for on_close and for the thread.
  ~WebSocketClient();
  WebSocketClient(const WebSocketClient&) = delete;
  WebSocketClient& operator=(const WebSocketClient&) = delete;

  // Queues one binary frame. unavailable when the connection is gone, resource_exhausted when the queue is full (the
  // frame is not queued). Ok is no promise that it arrives. Any thread.
  Status send(std::string frame);

  // Sends what is queued and a close frame, waits for the answer at most one second, and ends. Any thread; not
  // blocking; idempotent.
  void close();

 private:
  struct Impl;
  explicit WebSocketClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::net
