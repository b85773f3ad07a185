#include "net/websocket_client.h"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <chrono>
#include <deque>
#include <thread>

#include "base/log.h"
#include "net/blocking.h"
#include "net/url.h"

namespace freshet::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using boost::system::error_code;

constexpr auto kCloseTimeout = std::chrono::seconds(1);

std::chrono::microseconds to_chrono(Duration duration) { return std::chrono::microseconds(duration.us); }

}  // namespace

// All members but `queued_bytes` and `is_gone` are touched only by the thread that runs `io`.
struct WebSocketClient::Impl {
  Impl(WebSocketOptions o, WebSocketCallbacks c)
      : options(std::move(o)), callbacks(std::move(c)), socket(io), closer(io) {}

  WebSocketOptions options;
  WebSocketCallbacks callbacks;
  asio::io_context io{1};
  websocket::stream<beast::tcp_stream> socket;
  asio::steady_timer closer;
  beast::flat_buffer buffer;
  std::deque<std::string> queue;
  std::atomic<size_t> queued_bytes = 0;
  std::atomic<bool> is_gone = false;
  bool is_writing = false;
  bool is_closing = false;
  bool close_sent = false;
  std::thread thread;

  Status connect();
  void read();
  void write();
  void begin_close();
  void send_close();
  void gone(const Status& reason);
};

Status WebSocketClient::Impl::connect() {
  ASSIGN_OR_RETURN(Url url, parse_url(options.url));
  ASSIGN_OR_RETURN(auto addresses, resolve(io, url, options.connect_timeout));
  auto failed = [&](const error_code& error) {
    std::string text = "cannot connect to " + url.authority() + ": ";
    if (error == beast::error::timeout) return deadline(text + "no answer in time");
    return unavailable(text + error.message());
  };
  beast::tcp_stream& tcp = beast::get_lowest_layer(socket);
  tcp.expires_after(to_chrono(options.connect_timeout));
  error_code error = wait(io, [&](auto done) { tcp.async_connect(addresses, std::move(done)); });
  if (error) return failed(error);
  tcp.socket().set_option(asio::ip::tcp::no_delay(true), error);
  if (error) return failed(error);
  // From here the WebSocket layer has the timeouts.
  tcp.expires_never();
  websocket::stream_base::timeout timeout{};
  timeout.handshake_timeout = to_chrono(options.connect_timeout);
  timeout.idle_timeout = to_chrono(options.idle_timeout);
  timeout.keep_alive_pings = true;
  socket.set_option(timeout);
  socket.read_message_max(options.frame_bytes_max);
  socket.binary(true);
  socket.set_option(websocket::stream_base::decorator([this](websocket::request_type& request) {
    request.set(http::field::user_agent, "freshet");
    if (!options.bearer_token.empty()) request.set(http::field::authorization, "Bearer " + options.bearer_token);
    for (const HttpHeader& header : options.headers) request.set(header.name, header.value);
  }));
  websocket::response_type answer;
  error = wait(io, [&](auto done) { socket.async_handshake(answer, url.authority(), url.target, std::move(done)); });
  if (error == websocket::error::upgrade_declined) {
    HttpResponse refusal{static_cast<int>(answer.result_int()), {}, answer.body()};
    if (refusal.is_ok()) return unavailable(url.authority() + " does not speak WebSocket at " + url.target);
    return to_status(refusal);
  }
  if (error) return failed(error);
  return Status::ok();
}

void WebSocketClient::Impl::read() {
  socket.async_read(buffer, [this](error_code error, size_t) {
    if (error == websocket::error::closed) {
      std::string why(socket.reason().reason.c_str());
      gone(is_closing ? Status::ok()
                      : unavailable("the daemon closed the connection" + (why.empty() ? "" : ": " + why)));
    } else if (error) {
      gone(is_closing ? Status::ok() : unavailable("the connection broke: " + error.message()));
    } else {
      std::string frame = beast::buffers_to_string(buffer.data());
      buffer.consume(buffer.size());
      callbacks.on_message(std::move(frame));
      read();
    }
  });
}

void WebSocketClient::Impl::write() {
  if (is_writing || is_gone || close_sent) return;
  if (queue.empty()) {
    if (is_closing) send_close();
    return;
  }
  is_writing = true;
  socket.async_write(asio::buffer(queue.front()), [this](error_code error, size_t) {
    is_writing = false;
    if (error) return gone(is_closing ? Status::ok() : unavailable("the connection broke: " + error.message()));
    queued_bytes -= queue.front().size();
    queue.pop_front();
    write();
  });
}

void WebSocketClient::Impl::begin_close() {
  if (is_closing || is_gone) return;
  is_closing = true;
  closer.expires_after(kCloseTimeout);
  closer.async_wait([this](error_code error) {
    if (!error) gone(Status::ok());
  });
  write();
}

void WebSocketClient::Impl::send_close() {
  close_sent = true;
  // The answer to the close frame ends the pending read, which reports the end.
  socket.async_close(websocket::close_code::normal, [this](error_code) { gone(Status::ok()); });
}

void WebSocketClient::Impl::gone(const Status& reason) {
  if (is_gone.exchange(true)) return;
  closer.cancel();
  error_code ignored;  // it is gone either way
  beast::get_lowest_layer(socket).socket().close(ignored);
  callbacks.on_close(reason);
  io.stop();
}

Result<std::unique_ptr<WebSocketClient>> WebSocketClient::connect(WebSocketOptions options,
                                                                  WebSocketCallbacks callbacks) {
  CHECK(callbacks.on_message && callbacks.on_close);
  auto impl = std::make_unique<Impl>(std::move(options), std::move(callbacks));
  try {
    RETURN_IF_ERROR(impl->connect());
    Impl* self = impl.get();
    impl->read();
    impl->io.restart();
    impl->thread = std::thread([self] {
      try {
        self->io.run();
      } catch (const std::exception& error) {
        log_error("net", std::string("WebSocket client: ") + error.what());
        self->gone(internal(error.what()));
      }
    });
  } catch (const std::exception& error) {
    return internal(std::string("WebSocket client: ") + error.what());
  }
  return std::unique_ptr<WebSocketClient>(new WebSocketClient(std::move(impl)));
}

WebSocketClient::WebSocketClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

WebSocketClient::~WebSocketClient() {
  CHECK_MSG(std::this_thread::get_id() != impl_->thread.get_id(),
            "a WebSocketClient was destroyed by its own callback");
  close();
  impl_->thread.join();
}

Status WebSocketClient::send(std::string frame) {
  if (impl_->is_gone) return unavailable("the connection to the daemon is gone");
  size_t size = frame.size();
  if (impl_->queued_bytes.fetch_add(size) + size > impl_->options.queue_bytes_max) {
    impl_->queued_bytes -= size;
    return resource_exhausted("too many frames wait for the daemon");
  }
  asio::post(impl_->io, [impl = impl_.get(), frame = std::move(frame)]() mutable {
    impl->queue.push_back(std::move(frame));
    impl->write();
  });
  return Status::ok();
}

void WebSocketClient::close() {
  asio::post(impl_->io, [impl = impl_.get()] { impl->begin_close(); });
}

}  // namespace freshet::net
