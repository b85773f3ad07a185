#include "net/http_client.h"

#include <poll.h>

#include <google/protobuf/util/json_util.h>
#include <algorithm>
#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

#include "net/blocking.h"
#include "net/event_parser.h"
#include "net/url.h"
#include "proto/api.pb.h"

namespace freshet::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr size_t kPieceBytes = 64 * 1024;
constexpr size_t kErrorBodyBytesMax = 1 << 20;

bool is_repeatable(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE";
}

// Whoever reads this header acts once, however often the request comes.
bool has_idempotency_key(const HttpRequest& request) {
  return std::any_of(request.headers.begin(), request.headers.end(),
                     [](const HttpHeader& header) { return beast::iequals(header.name, "Idempotency-Key"); });
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// Anything that can be read on an idle connection is its end (or bytes that belong to nothing).
bool is_still_idle(int fd) {
  pollfd poller{fd, POLLIN, 0};
  return ::poll(&poller, 1, 0) == 0;
}

Code code_of(std::string_view name) {
  for (int i = 1; i <= static_cast<int>(Code::kInternal); ++i) {
    if (code_name(static_cast<Code>(i)) == name) return static_cast<Code>(i);
  }
  return Code::kOk;
}

Code code_of(int http_status) {
  switch (http_status) {
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 408:
    case 504:
      return Code::kDeadline;
    case 409:
    case 412:
      return Code::kConflict;
    case 429:
    case 507:
      return Code::kResourceExhausted;
    case 502:
    case 503:
      return Code::kUnavailable;
    default:
      return http_status >= 500 ? Code::kInternal : Code::kInvalidArgument;
  }
}

}  // namespace

std::string_view HttpResponse::header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (beast::iequals(header.name, name)) return header.value;
  }
  return {};
}

Status to_status(const HttpResponse& response) {
  if (response.is_ok()) return Status::ok();
  v1::ErrorResponse error;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (google::protobuf::util::JsonStringToMessage(response.body, &error, options).ok()) {
    Code code = code_of(error.code());
    if (code != Code::kOk) return Status(code, error.message());
  }
  return Status(code_of(response.status), "the daemon answered with HTTP status " + std::to_string(response.status));
}

struct HttpClient::Impl {
  explicit Impl(HttpClientOptions o) : options(std::move(o)) {}

  HttpClientOptions options;
  asio::io_context io{1};
  std::optional<beast::tcp_stream> stream;
  beast::flat_buffer buffer;
  std::string connected_to;
  std::atomic<bool> is_cancelled = false;
  SteadyTime deadline;        // of the whole request
  bool is_connected = false;  // in this try
  bool got_bytes = false;     // whether any byte of the answer of this try has come

  void close() {
    stream.reset();
    buffer.clear();
    connected_to.clear();
  }

  // Every wait ends at the earlier of the idle limit and the deadline of the request.
  void arm(Duration limit) {
    stream->expires_at(std::min(deadline, std::chrono::steady_clock::now() + std::chrono::microseconds(limit.us)));
  }

  Status failed(std::string_view what, const error_code& error, const Url& url) {
    close();
    std::string text = std::string(what) + " " + url.authority() + ": ";
    if (is_cancelled) return cancelled(text + "stopped");
    if (error == beast::error::timeout) return freshet::deadline(text + "no answer in time");
    return unavailable(text + error.message());
  }

  Status connect(const Url& url) {
    if (stream && connected_to == url.authority() && is_still_idle(stream->socket().native_handle())) {
      return Status::ok();
    }
    close();
    Result<asio::ip::tcp::resolver::results_type> addresses = resolve(io, url, options.connect_timeout);
    RETURN_IF_ERROR(addresses.status());
    stream.emplace(io);
    arm(options.connect_timeout);
    error_code error = wait(io, [&](auto done) { stream->async_connect(*addresses, std::move(done)); });
    if (error) return failed("cannot reach", error, url);
    error_code ignored;  // a latency hint only
    stream->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    connected_to = url.authority();
    return Status::ok();
  }

  template <class Body>
  error_code write(http::request<Body>& message) {
    http::request_serializer<Body> serializer(message);
    error_code error;
    while (!error && !serializer.is_done()) {
      arm(options.idle_timeout);
      error = wait(io, [&](auto done) { http::async_write_some(*stream, serializer, std::move(done)); });
    }
    return error;
  }

  template <class Body>
  void fill_header(http::request<Body>& message, const HttpRequest& request, const Url& url) {
    message.version(11);
    message.method_string(request.method);
    message.target(url.target);
    message.set(http::field::host, url.authority());
    message.set(http::field::user_agent, "freshet");
    if (!options.bearer_token.empty()) message.set(http::field::authorization, "Bearer " + options.bearer_token);
    for (const HttpHeader& header : request.headers) message.set(header.name, header.value);
  }

  Result<error_code> send(const HttpRequest& request, const Url& url) {
    if (!request.body_file.empty()) {
      http::request<http::file_body> message;
      fill_header(message, request, url);
      error_code error;
      message.body().open(request.body_file.c_str(), beast::file_mode::scan, error);
      if (error) return errno_status("open " + request.body_file.string(), error.value());
      message.prepare_payload();
      return write(message);
    }
    http::request<http::string_body> message;
    fill_header(message, request, url);
    message.body() = request.body;
    message.prepare_payload();
    return write(message);
  }

  Result<HttpResponse> receive(const HttpRequest& request, const Url& url, const BodySink* sink);
  Result<HttpResponse> attempt(const HttpRequest& request, const Url& url, const BodySink* sink);
  Result<HttpResponse> perform(const HttpRequest& request, const BodySink* sink, bool is_endless);
};

Result<HttpResponse> HttpClient::Impl::receive(const HttpRequest& request, const Url& url, const BodySink* sink) {
  http::response_parser<http::buffer_body> parser;
  parser.header_limit(64 * 1024);
  parser.body_limit(boost::none);
  if (request.method == "HEAD") parser.skip(true);
  while (!parser.is_header_done()) {
    arm(options.idle_timeout);
    size_t before = buffer.size();
    error_code error = wait(io, [&](auto done) { http::async_read_header(*stream, buffer, parser, std::move(done)); });
    got_bytes = got_bytes || buffer.size() != before || parser.got_some();
    if (error) return failed("no answer from", error, url);
  }
  HttpResponse response;
  response.status = static_cast<int>(parser.get().result_int());
  for (const auto& field : parser.get()) {
    response.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  bool to_sink = sink != nullptr && response.is_ok();
  size_t bytes_max = response.is_ok() ? options.response_bytes_max : kErrorBodyBytesMax;
  std::string piece(kPieceBytes, '\0');
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    arm(options.idle_timeout);
    error_code error = wait(io, [&](auto done) { http::async_read_some(*stream, buffer, parser, std::move(done)); });
    std::string_view bytes(piece.data(), piece.size() - parser.get().body().size);
    if (to_sink && !bytes.empty()) {
      if (Status status = (*sink)(bytes); !status.is_ok()) {
        close();
        return status;
      }
    } else {
      if (response.body.size() + bytes.size() > bytes_max) {
        close();
        return resource_exhausted("the answer of " + url.authority() + " is larger than " + std::to_string(bytes_max) +
                                  " bytes");
      }
      response.body += bytes;
    }
    if (error && error != http::error::need_buffer) return failed("broken answer from", error, url);
  }
  if (!parser.keep_alive()) close();
  return response;
}

Result<HttpResponse> HttpClient::Impl::attempt(const HttpRequest& request, const Url& url, const BodySink* sink) {
  got_bytes = is_connected = false;
  RETURN_IF_ERROR(connect(url));
  is_connected = true;
  ASSIGN_OR_RETURN(error_code sent, send(request, url));
  if (sent == beast::error::timeout || is_cancelled) return failed("cannot send to", sent, url);
  // A daemon that refuses a body answers before it has read all of it and closes; that answer is worth more than EPIPE.
  Result<HttpResponse> response = receive(request, url, sink);
  if (sent) {
    close();
    if (!response.is_ok()) return failed("cannot send to", sent, url);
  }
  return response;
}

Result<HttpResponse> HttpClient::Impl::perform(const HttpRequest& request, const BodySink* sink, bool is_endless) {
  ASSIGN_OR_RETURN(Url url, parse_url(request.url));
  if (request.method.empty() || has_control_character(request.method)) return invalid_argument("bad HTTP method");
  if (has_control_character(options.bearer_token)) return invalid_argument("the token holds a control character");
  for (const HttpHeader& header : request.headers) {
    if (header.name.empty() || has_control_character(header.name) || has_control_character(header.value)) {
      return invalid_argument("bad HTTP header '" + header.name + "'");
    }
  }
  Duration limit = request.timeout.us > 0 ? request.timeout : options.request_timeout;
  bool has_deadline = !is_endless || request.timeout.us > 0;
  deadline = has_deadline ? std::chrono::steady_clock::now() + std::chrono::microseconds(limit.us) : SteadyTime::max();
  try {
    if (is_cancelled) return cancelled("the client was stopped");
    bool was_reused = stream.has_value() && connected_to == url.authority();
    Result<HttpResponse> response = attempt(request, url, sink);
    bool is_lost = !response.is_ok() && response.status().code() == Code::kUnavailable && is_connected;
    bool has_key = has_idempotency_key(request) && sink == nullptr;
    bool is_stale = was_reused && !got_bytes && is_repeatable(request.method);
    if (is_lost && (is_stale || has_key)) response = attempt(request, url, sink);
    return response;
  } catch (const std::exception& error) {
    close();
    return internal(std::string("HTTP client: ") + error.what());
  }
}

HttpClient::HttpClient(HttpClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::request(const HttpRequest& request) { return impl_->perform(request, nullptr, false); }

Result<HttpResponse> HttpClient::request(const HttpRequest& request, const BodySink& sink) {
  return impl_->perform(request, &sink, false);
}

Result<HttpResponse> HttpClient::stream_events(const HttpRequest& request, const EventSink& sink) {
  EventParser parser;
  bool ended_by_sink = false;
  BodySink feed = [&](std::string_view bytes) {
    RETURN_IF_ERROR(parser.feed(bytes));
    while (std::optional<ServerEvent> event = parser.next()) {
      if (!sink(*event)) {
        ended_by_sink = true;
        return cancelled("the caller ended the stream");
      }
    }
    return Status::ok();
  };
  HttpRequest with_accept = request;
  with_accept.headers.push_back({"Accept", "text/event-stream"});
  Result<HttpResponse> response = impl_->perform(with_accept, &feed, true);
  if (ended_by_sink) return HttpResponse{200, {}, {}};
  return response;
}

bool HttpClient::reached() const { return impl_->is_connected; }

void HttpClient::cancel() {
  impl_->is_cancelled = true;
  asio::post(impl_->io, [impl = impl_.get()] {
    if (impl->stream) impl->stream->cancel();
  });
}

}  // namespace freshet::net
