// WebSocketConnection: a connection after its upgrade. Two coroutines, one reads and one writes; the listener's calls
// go through a SerialQueue on the worker pool. Private to the server. All members but the queue run on the connection's
// IO loop; send(), close(), drain() may be called from any thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/async/serial_queue.h"
#include "daemon/http/server_core.h"
#include "daemon/http/websocket_session.h"

namespace freshet::http {

class WebSocketConnection final : public WebSocketSession,
                                  public Served,
                                  public std::enable_shared_from_this<WebSocketConnection> {
 public:
  WebSocketConnection(std::shared_ptr<ServerCore> core, boost::asio::ip::tcp::socket socket, std::string peer,
                      Principal principal, WebSocketListener& listener);
  ~WebSocketConnection() override;

  // The handshake, for a request head that passed the gate.
  boost::asio::awaitable<bool> accept(const std::string& head_bytes);
  // Registers, tells the listener, and starts both coroutines.
  static void start(const std::shared_ptr<WebSocketConnection>& self);

  uint64_t id() const override { return id_; }
  const Principal& principal() const override { return principal_; }
  bool send(std::string frame) override;
  void close(const std::string& reason) override;

  void drain() override { close("the daemon is stopping"); }
  void wake_stream() override {}

 private:
  static boost::asio::awaitable<void> read(std::shared_ptr<WebSocketConnection> self);
  static boost::asio::awaitable<void> write(std::shared_ptr<WebSocketConnection> self);
  // Ends both coroutines and tells the listener, once.
  void gone(const Status& reason);
  void wake_writer();

  std::shared_ptr<ServerCore> core_;
  const std::string peer_;
  boost::beast::websocket::stream<boost::beast::tcp_stream> stream_;
  boost::asio::steady_timer writer_wake_;
  boost::beast::flat_buffer buffer_;
  const Principal principal_;
  WebSocketListener& listener_;
  async::SerialQueue callbacks_;
  uint64_t id_ = 0;
  bool is_gone_ = false;

  std::mutex mutex_;
  std::deque<std::string> queue_;  // guarded by mutex_, as all below
  size_t queued_bytes_ = 0;
  bool is_closing_ = false;
  std::string close_reason_;
};

}  // namespace freshet::http
