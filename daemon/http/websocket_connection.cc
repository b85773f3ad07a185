#include "daemon/http/websocket_connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <chrono>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/async/run_on.h"

namespace freshet::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kHandshakeLimit = std::chrono::seconds(5);  // also of the closing handshake
constexpr size_t kReasonBytesMax = 120;
// A callback of control that takes longer than this has hung; the connection ends, and the agent comes back.
constexpr auto kCallbackLimit = std::chrono::minutes(5);

}  // namespace

WebSocketConnection::WebSocketConnection(std::shared_ptr<ServerCore> core, asio::ip::tcp::socket socket,
                                         std::string peer, Principal principal, WebSocketListener& listener)
    : core_(std::move(core)),
      peer_(std::move(peer)),
      stream_(beast::tcp_stream(std::move(socket))),
      writer_wake_(stream_.get_executor()),
      principal_(std::move(principal)),
      listener_(listener),
      callbacks_(core_->pool) {
  websocket::stream_base::timeout timeout{};
  timeout.handshake_timeout = kHandshakeLimit;
  timeout.idle_timeout = std::chrono::microseconds(core_->options.websocket_idle_limit.us);
  timeout.keep_alive_pings = true;
  stream_.set_option(timeout);
  stream_.read_message_max(core_->options.websocket_frame_bytes_max);
  stream_.binary(true);
}

WebSocketConnection::~WebSocketConnection() {
  if (id_ != 0) core_->remove(id_);
}

asio::awaitable<bool> WebSocketConnection::accept(const std::string& head_bytes) {
  beast::http::request_parser<beast::http::empty_body> parser;
  error_code error;
  parser.put(asio::buffer(head_bytes), error);
  if (error || !parser.is_header_done()) co_return false;
  auto [failed] = co_await stream_.async_accept(parser.get(), kAwait);
  co_return !failed;
}

void WebSocketConnection::start(const std::shared_ptr<WebSocketConnection>& self) {
  self->id_ = self->core_->add(self, self->peer_);
  if (self->id_ == 0) return;  // the server is stopping: the socket closes
  Status posted = self->callbacks_.post([self] { self->listener_.on_open(self); });
  asio::any_io_executor executor = self->stream_.get_executor();
  bool started = posted.is_ok() && self->core_->tasks.start(executor, read(self)) &&
                 self->core_->tasks.start(executor, write(self));
  if (!started) self->gone(cancelled("the daemon is stopping"));
}

bool WebSocketConnection::send(std::string frame) {
  {
    std::lock_guard lock(mutex_);
    if (is_closing_) return false;
    if (queued_bytes_ + frame.size() > core_->options.websocket_queue_bytes_max) {
      is_closing_ = true;
      close_reason_ = "too many frames wait to be read";
      queue_.clear();
    } else {
      queued_bytes_ += frame.size();
      queue_.push_back(std::move(frame));
    }
  }
  wake_writer();
  std::lock_guard lock(mutex_);
  return !is_closing_;
}

void WebSocketConnection::close(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    if (is_closing_) return;
    is_closing_ = true;
    close_reason_ = reason.substr(0, kReasonBytesMax);
  }
  wake_writer();
}

void WebSocketConnection::wake_writer() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] { self->writer_wake_.cancel(); });
}

void WebSocketConnection::gone(const Status& reason) {
  if (std::exchange(is_gone_, true)) return;
  {
    std::lock_guard lock(mutex_);
    is_closing_ = true;
    queue_.clear();
  }
  writer_wake_.cancel();
  beast::get_lowest_layer(stream_).close();
  Status posted = callbacks_.post([self = shared_from_this(), reason] { self->listener_.on_close(*self, reason); });
  if (!posted.is_ok()) log_warning("http", "the end of a WebSocket was not reported: " + posted.to_string());
}

namespace {

// Whatever ends a coroutine, also cancellation by exception, ends the connection.
template <class Function>
class OnExit {
 public:
  explicit OnExit(Function function) : function_(std::move(function)) {}
  ~OnExit() { function_(); }
  OnExit(const OnExit&) = delete;
  OnExit& operator=(const OnExit&) = delete;

 private:
  Function function_;
};

}  // namespace

asio::awaitable<void> WebSocketConnection::read(std::shared_ptr<WebSocketConnection> self) {
  Status reason = cancelled("the daemon is stopping");
  OnExit end([&] { self->gone(reason); });
  for (;;) {
    auto [error, size] = co_await self->stream_.async_read(self->buffer_, kAwait);
    if (error == websocket::error::closed) {
      std::string_view text(self->stream_.reason().reason.data(), self->stream_.reason().reason.size());
      reason = cancelled("closed by the peer" + (text.empty() ? "" : ": " + std::string(text)));
      co_return;
    }
    if (error) {
      reason = unavailable("the connection broke: " + error.message());
      co_return;
    }
    std::string frame = beast::buffers_to_string(self->buffer_.data());
    self->buffer_.consume(self->buffer_.size());
    std::function<Result<bool>()> call = [self, frame = std::move(frame)]() mutable -> Result<bool> {
      self->listener_.on_message(*self, std::move(frame));
      return true;
    };
    auto submit = [&](std::function<void()> job) { return self->callbacks_.post(std::move(job)); };
    Result<bool> done =
        co_await async::run_via<bool>(submit, std::move(call), std::chrono::steady_clock::now() + kCallbackLimit);
    if (!done.is_ok()) {
      reason = done.status();
      log_error("http", "the listener of a WebSocket failed: " + reason.to_string());
      co_return;
    }
  }
}

asio::awaitable<void> WebSocketConnection::write(std::shared_ptr<WebSocketConnection> self) {
  OnExit end([&] { self->gone(cancelled("closed here")); });
  for (;;) {
    std::string frame;
    bool has_frame = false;
    bool is_closing = false;
    std::string reason;
    {
      std::lock_guard lock(self->mutex_);
      has_frame = !self->queue_.empty();
      is_closing = self->is_closing_;
      reason = self->close_reason_;
      if (has_frame) {
        frame = std::move(self->queue_.front());
        self->queue_.pop_front();
      }
    }
    if (self->is_gone_) co_return;
    if (has_frame) {
      CRASH_POINT("http.frame.before_send");
      auto [error, size] = co_await self->stream_.async_write(asio::buffer(frame), kAwait);
      CRASH_POINT("http.frame.after_send");
      if (error) co_return;
      std::lock_guard lock(self->mutex_);
      self->queued_bytes_ -= frame.size();
    } else if (is_closing) {
      co_await self->stream_.async_close(websocket::close_reason(websocket::close_code::normal, reason), kAwait);
      co_return;
    } else {
      // Endless on purpose: the reader's idle limit ends a connection that is dead.
      self->writer_wake_.expires_at(std::chrono::steady_clock::time_point::max());
      co_await self->writer_wake_.async_wait(kAwait);
    }
  }
}

}  // namespace freshet::http
