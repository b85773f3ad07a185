#include "daemon/http/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "base/crash_point.h"
#include "base/log.h"
#include "daemon/async/run_on.h"
#include "daemon/http/response_head.h"
#include "daemon/http/status_mapping.h"
#include "daemon/http/websocket_connection.h"

namespace freshet::http {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 64 * 1024;
constexpr std::string_view kHeadEnd = "\r\n\r\n";
// After a refusal: how long, and how much of what the client still sends is read, so that it sees the answer and not a
// reset.
constexpr Duration kLingerLimit = Duration::seconds(1);
constexpr size_t kLingerBytesMax = 4 << 20;

SteadyTime after(Duration duration) {
  return std::chrono::steady_clock::now() + std::chrono::microseconds(duration.us);
}

// Too many requests wait for a thread: nothing of this one was done.
Response busy_response() {
  Response response = error_response(unavailable("too many requests wait already; try again"));
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

bool takes_body(const std::string& method) { return method != "GET" && method != "DELETE"; }

}  // namespace

Connection::Connection(std::shared_ptr<ServerCore> core, asio::ip::tcp::socket socket, std::string peer)
    : core_(std::move(core)),
      socket_(std::move(socket)),
      limit_(socket_.get_executor()),
      stream_timer_(socket_.get_executor()),
      peer_(std::move(peer)) {
  if (core_->metrics) core_->metrics->connection_opened();
}

Connection::~Connection() {
  if (id_ != 0) core_->remove(id_);
  if (core_->metrics) core_->metrics->connection_closed();
}

bool Connection::begin() {
  id_ = core_->add(shared_from_this(), peer_);
  return id_ != 0;
}

void Connection::drain() {
  // Weak here and below: what is posted must not outlive the task that the server waits for.
  asio::post(socket_.get_executor(), [weak = weak_from_this()] {
    auto self = weak.lock();
    if (!self) return;
    self->is_draining_ = true;
    self->stream_timer_.cancel();
    error_code ignored;  // it ends either way
    if (self->is_idle_) self->socket_.cancel(ignored);
  });
}

void Connection::wake_stream() {
  if (!is_streaming_ || wake_is_posted_.exchange(true)) return;
  asio::post(socket_.get_executor(), [weak = weak_from_this()] {
    auto self = weak.lock();
    if (!self) return;
    self->wake_is_posted_ = false;
    self->is_woken_ = true;
    self->stream_timer_.cancel();
  });
}

void Connection::arm(SteadyTime limit) {
  limit_.expires_at(limit);
  limit_.async_wait([weak = weak_from_this(), generation = ++limit_generation_](const error_code& error) {
    auto self = weak.lock();
    // The generation: a wait that ended just before it was replaced must not cancel what came after it.
    if (error || !self || self->limit_generation_ != generation) return;
    self->timed_out_ = true;
    error_code ignored;  // a socket that is closed already
    self->socket_.cancel(ignored);
  });
}

void Connection::arm_for(Duration limit) { arm(after(limit)); }

void Connection::disarm() {
  ++limit_generation_;
  limit_.cancel();
}

void Connection::count(const Exchange& exchange, int status) {
  if (!core_->metrics) return;
  auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - exchange.begin);
  // A method that no route has is the client's invention and may not become a label.
  core_->metrics->answered(exchange.route ? exchange.route->method : "", exchange.route ? exchange.route->pattern : "",
                           status, Duration::micros(took.count()));
}

asio::awaitable<void> Connection::serve(std::shared_ptr<Connection> self) {
  // Not while (co_await ...) with an empty body: GCC 12 makes code of it that destroys what it awaits twice.
  bool goes_on = true;
  while (goes_on) {
    goes_on = co_await self->serve_one();
  }
  self->disarm();
}

asio::awaitable<bool> Connection::read_some() {
  std::array<char, kReadBytes> piece;
  auto [error, size] = co_await socket_.async_read_some(asio::buffer(piece), kAwait);
  in_.append(piece.data(), size);
  co_return !error;
}

asio::awaitable<bool> Connection::write(std::string_view bytes) {
  arm_for(core_->options.write_limit);
  auto [error, size] = co_await asio::async_write(socket_, asio::buffer(bytes), kAwait);
  disarm();
  co_return !error;
}

asio::awaitable<void> Connection::linger() {
  error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  size_t total = 0;
  arm_for(kLingerLimit);
  while (!error && total < kLingerBytesMax) {
    in_.clear();
    if (!co_await read_some()) break;
    total += in_.size();
  }
  disarm();
}

asio::awaitable<bool> Connection::serve_one() {
  auto exchange = std::make_shared<Exchange>();
  if (!co_await read_head(&exchange->head_bytes)) co_return false;
  co_return co_await dispatch(exchange);
}

asio::awaitable<bool> Connection::read_head(std::string* head_bytes) {
  timed_out_ = false;
  is_idle_ = in_.empty();
  arm_for(is_idle_ ? core_->options.idle_limit : core_->options.header_limit);
  for (;;) {
    size_t end = in_.find(kHeadEnd);
    std::string_view head = std::string_view(in_).substr(0, end == std::string::npos ? end : end + kHeadEnd.size());
    auto refusal = check_partial_head(head);
    if (!refusal && end != std::string::npos) {
      *head_bytes = head;
      in_.erase(0, head_bytes->size());
      disarm();
      co_return true;
    }
    bool was_idle = is_idle_;
    bool is_open = !refusal && !(is_draining_ && is_idle_);
    if (is_open) is_open = co_await read_some();
    is_idle_ = in_.empty();
    if (is_open) {
      if (was_idle && !is_idle_) arm_for(core_->options.header_limit);
      continue;
    }
    if (!refusal && timed_out_ && !is_idle_) refusal = GateRefusal{408, "the header did not come in time"};
    if (refusal) {
      auto exchange = std::make_shared<Exchange>();
      exchange->begin = std::chrono::steady_clock::now();
      co_await refuse(exchange, refusal->status, invalid_argument(refusal->reason));
    }
    co_return false;
  }
}

asio::awaitable<bool> Connection::dispatch(std::shared_ptr<Exchange> exchange) {
  exchange->begin = std::chrono::steady_clock::now();
  GateResult gate = check_head(exchange->head_bytes, core_->hosts);
  if (gate.refusal) co_return co_await refuse(exchange, gate.refusal->status, invalid_argument(gate.refusal->reason));
  exchange->head = std::move(gate.head);
  const RequestHead& head = exchange->head;
  bool has_body = head.is_chunked || head.content_length.value_or(0) > 0;
  // An answer that comes before the body is read leaves bytes behind that are no request: the connection ends then.
  exchange->keep_alive = !head.wants_close && !has_body;
  exchange->is_read = !has_body;

  Result<RouteMatch> match = core_->router.match(head.method, head.path);
  if (!match.is_ok()) co_return co_await answer(exchange, error_response(match.status()));
  if (!match->route) {
    Status why = not_found("there is nothing at " + head.path);
    if (match->allowed.empty()) co_return co_await answer(exchange, error_response(why));
    std::string allowed;
    for (const std::string& method : match->allowed) allowed += (allowed.empty() ? "" : ", ") + method;
    Response response = error_response(405, invalid_argument("this address takes only " + allowed));
    response.headers.emplace_back("Allow", allowed);
    co_return co_await answer(exchange, std::move(response));
  }
  const Route& route = *match->route;
  exchange->route = &route;

  Principal principal = Authenticator::anonymous();
  if (route.permission != Permission::kPublic) {
    Result<Principal> known = core_->authenticator.authenticate(head.field("authorization"), peer_);
    if (!known.is_ok()) {
      bool too_many = known.status().code() == Code::kResourceExhausted;
      Response response = error_response(too_many ? 429 : 401, known.status());
      if (!too_many) response.headers.emplace_back("WWW-Authenticate", "Bearer");
      co_return co_await answer(exchange, std::move(response));
    }
    principal = *known;
    if (!principal.may(route.permission)) {
      Status why = permission_denied(principal.name() + " lacks the permission '" +
                                     std::string(permission_name(route.permission)) + "'");
      co_return co_await answer(exchange, error_response(why));
    }
  }

  auto request = std::make_shared<Request>();
  Result<std::map<std::string, std::string>> query = parse_query(head.query, route.options.query);
  if (!query.is_ok()) co_return co_await answer(exchange, error_response(query.status()));
  request->method = head.method;
  request->path = head.path;
  request->params = std::move(match->params);
  request->query = std::move(*query);
  request->body_size = head.content_length;
  request->peer = peer_;
  request->last_event_id = head.field("last-event-id");
  request->idempotency_key = head.field("idempotency-key");

  if (has_body && !takes_body(head.method)) {
    co_return co_await refuse(exchange, 400, invalid_argument("a " + head.method + " has no body"));
  }
  if (head.content_length.value_or(0) > route.options.body_bytes_max) {
    co_return co_await refuse(
        exchange, 413,
        invalid_argument("the body is larger than the " + std::to_string(route.options.body_bytes_max) +
                         " bytes that this call takes"));
  }
  if (route.listener) {
    if (!head.wants_websocket || !in_.empty()) {
      co_return co_await refuse(exchange, 426, invalid_argument("this address speaks WebSocket only"));
    }
    co_await upgrade(exchange, principal);
    co_return false;
  }
  exchange->deadline = after(route.options.deadline);
  if (route.upload) co_return co_await run_upload(exchange, request, principal);
  co_return co_await run_handler(exchange, request, principal);
}

asio::awaitable<bool> Connection::send_continue(const Exchange& exchange) {
  if (!exchange.head.expects_continue || !in_.empty()) co_return true;
  co_return co_await write("HTTP/1.1 100 Continue\r\n\r\n");
}

asio::awaitable<std::optional<GateRefusal>> Connection::read_body(BodyReader& reader, std::string* decoded) {
  for (;;) {
    if (auto refusal = reader.feed(&in_, decoded)) co_return refusal;
    if (reader.is_done() || !decoded->empty()) co_return std::nullopt;
    if (!co_await read_some()) {
      if (timed_out_) co_return GateRefusal{408, "the body did not come in time"};
      co_return GateRefusal{400, "the body ended early"};
    }
  }
}

asio::awaitable<bool> Connection::run_handler(std::shared_ptr<Exchange> exchange, std::shared_ptr<Request> request,
                                              Principal principal) {
  if (!co_await send_continue(*exchange)) co_return false;
  BodyReader reader(exchange->head_bytes, exchange->route->options.body_bytes_max);
  arm(exchange->deadline);
  do {
    std::string piece;
    if (auto refusal = co_await read_body(reader, &piece)) {
      co_return co_await refuse(exchange, refusal->status, invalid_argument(refusal->reason));
    }
    request->body += piece;
  } while (!reader.is_done());
  disarm();
  exchange->keep_alive = !exchange->head.wants_close;
  exchange->is_read = true;

  auto has_begun = std::make_shared<std::atomic<bool>>(false);
  std::function<Result<Response>()> work = [route = exchange->route, request, principal, has_begun] {
    *has_begun = true;
    return route->handler(principal, *request);
  };
  Result<Response> response = co_await async::run_on<Response>(core_->pool, std::move(work), exchange->deadline);
  if (!response.is_ok() && !*has_begun && response.status().code() == Code::kResourceExhausted) {
    co_return co_await answer(exchange, busy_response());
  }
  if (!response.is_ok()) {
    const Status& status = response.status();
    if (status.code() == Code::kInternal || status.code() == Code::kCorrupt) {
      log_error("http",
                request->method + " " + exchange->route->pattern + ": " + status.to_string() + " at " + status.where());
    }
    co_return co_await answer(exchange, error_response(status));
  }
  co_return co_await answer(exchange, std::move(*response));
}

asio::awaitable<bool> Connection::run_upload(std::shared_ptr<Exchange> exchange, std::shared_ptr<Request> request,
                                             Principal principal) {
  using SinkPointer = std::shared_ptr<UploadSink>;
  Duration piece_limit = exchange->route->options.deadline;
  std::function<Result<SinkPointer>()> start = [route = exchange->route, request, principal]() -> Result<SinkPointer> {
    ASSIGN_OR_RETURN(std::unique_ptr<UploadSink> made, route->upload(principal, *request));
    return SinkPointer(std::move(made));
  };
  Result<SinkPointer> sink = co_await async::run_on<SinkPointer>(core_->pool, std::move(start), exchange->deadline);
  if (!sink.is_ok()) co_return co_await refuse(exchange, http_status_of(sink.status().code()), sink.status());
  if (!co_await send_continue(*exchange)) co_return false;

  BodyReader reader(exchange->head_bytes, exchange->route->options.body_bytes_max);
  do {
    auto piece = std::make_shared<std::string>();
    arm_for(piece_limit);
    auto refusal = co_await read_body(reader, piece.get());
    disarm();
    if (refusal) {
      sink->reset();  // what it holds is dropped before the answer says so
      co_return co_await refuse(exchange, refusal->status, invalid_argument(refusal->reason));
    }
    if (piece->empty()) continue;
    std::function<Result<bool>()> append = [sink = *sink, piece]() -> Result<bool> {
      RETURN_IF_ERROR(sink->append(*piece));
      return true;
    };
    Result<bool> appended = co_await async::run_on<bool>(core_->pool, std::move(append), after(piece_limit),
                                                         async::Admission::kSelfBounded);
    if (!appended.is_ok()) {
      sink->reset();
      co_return co_await refuse(exchange, http_status_of(appended.status().code()), appended.status());
    }
  } while (!reader.is_done());
  exchange->keep_alive = !exchange->head.wants_close;
  exchange->is_read = true;

  std::function<Result<Response>()> finish = [sink = *sink] { return sink->finish(); };
  Result<Response> response = co_await async::run_on<Response>(core_->pool, std::move(finish), after(piece_limit),
                                                               async::Admission::kSelfBounded);
  if (!response.is_ok()) co_return co_await answer(exchange, error_response(response.status()));
  co_return co_await answer(exchange, std::move(*response));
}

asio::awaitable<bool> Connection::refuse(std::shared_ptr<Exchange> exchange, int status, Status why) {
  exchange->keep_alive = false;
  co_return co_await answer(exchange, error_response(status, why));
}

asio::awaitable<bool> Connection::answer(std::shared_ptr<Exchange> exchange, Response response) {
  exchange->keep_alive = exchange->keep_alive && !is_draining_;
  if (response.stream) co_return co_await answer_stream(exchange, std::move(response));
  int status = response.status;
  std::string bytes = response_head(response, BodyFraming::kLength, exchange->keep_alive) + response.body;
  CRASH_POINT("http.answer.before_send");
  bool sent = co_await write(bytes);
  CRASH_POINT("http.answer.after_send");
  count(*exchange, status);
  if (sent && !exchange->keep_alive && (!exchange->is_read || !in_.empty())) co_await linger();
  co_return sent && exchange->keep_alive;
}

asio::awaitable<bool> Connection::answer_stream(std::shared_ptr<Exchange> exchange, Response response) {
  BodyFraming framing = BodyFraming::kChunked;
  if (response.stream_size) framing = BodyFraming::kLength;
  if (!response.stream_size && exchange->head.is_http_1_0) framing = BodyFraming::kUntilClose;
  std::string head = response_head(response, framing, exchange->keep_alive);
  if (!co_await write(head)) co_return false;
  count(*exchange, response.status);

  is_streaming_ = true;  // before the first pull, so that no wake-up behind it is lost
  std::shared_ptr<StreamBody> stream = std::move(response.stream);
  const HttpServerOptions& options = core_->options;
  SteadyTime heartbeat_at = after(options.heartbeat);
  for (bool is_last = false; !is_last;) {
    is_woken_ = false;
    std::function<Result<StreamBody::Piece>()> pull = [stream] { return stream->next(); };
    SteadyTime polled = std::chrono::steady_clock::now();
    Result<StreamBody::Piece> piece = co_await async::run_on<StreamBody::Piece>(
        core_->pool, std::move(pull), after(options.write_limit), async::Admission::kSelfBounded);
    if (!piece.is_ok()) {
      log_warning("http", "stream of " + exchange->route->pattern + " broke: " + piece.status().to_string());
      co_return false;
    }
    is_last = piece->is_last;
    std::string bytes = std::move(piece->bytes);
    bool is_quiet = bytes.empty() && !is_last;
    if (is_quiet && response.is_event_stream && polled >= heartbeat_at) bytes = ":\n\n";
    if (!bytes.empty()) {
      if (framing == BodyFraming::kChunked) bytes = chunk(bytes);
      CRASH_POINT("http.stream.before_send");
      if (!co_await write(bytes)) co_return false;
      CRASH_POINT("http.stream.after_send");
      heartbeat_at = after(options.heartbeat);
    }
    // Between events there is a pause also where there were some; other streams run as fast as they can.
    bool may_pause = is_quiet || (response.is_event_stream && !is_last);
    if (may_pause && !is_draining_) co_await wait_for_stream(polled, heartbeat_at);
    if (may_pause && is_draining_) is_last = true;
  }
  if (framing == BodyFraming::kChunked) {
    if (!co_await write(kLastChunk)) co_return false;
  }
  is_streaming_ = false;
  co_return exchange->keep_alive && !is_draining_;
}

asio::awaitable<void> Connection::wait_for_stream(SteadyTime last_poll, SteadyTime heartbeat_at) {
  constexpr auto kPauseMin = std::chrono::milliseconds(20);
  auto interval = std::chrono::microseconds(core_->options.poll_interval.us);
  while (!is_draining_) {
    SteadyTime next = is_woken_ ? last_poll + kPauseMin : std::min(last_poll + interval, heartbeat_at);
    if (std::chrono::steady_clock::now() >= next) co_return;
    stream_timer_.expires_at(next);
    co_await stream_timer_.async_wait(kAwait);
  }
}

asio::awaitable<void> Connection::upgrade(std::shared_ptr<Exchange> exchange, Principal principal) {
  auto session = std::make_shared<WebSocketConnection>(core_, std::move(socket_), peer_, std::move(principal),
                                                       *exchange->route->listener);
  if (co_await session->accept(exchange->head_bytes)) {
    count(*exchange, 101);
    WebSocketConnection::start(session);
  } else {
    count(*exchange, 400);
  }
}

}  // namespace freshet::http
