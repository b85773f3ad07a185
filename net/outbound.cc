#include "net/outbound.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <optional>

#include "net/url.h"

namespace freshet::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kCancelCheck = std::chrono::milliseconds(100);
constexpr uint32_t kHeaderBytesMax = 16 * 1024;
constexpr uint64_t kBodyBytesMax = 64 * 1024;  // read so that the peer can say all it has to say, and dropped

Status failed(const std::string& what, const Url& url, const error_code& error) {
  return unavailable(what + " " + url.authority() + ": " + error.message());
}

// A server that compares Host with its name rarely expects the port that goes without saying.
std::string host_field(const Url& url) {
  const std::string authority = url.authority();
  const std::string usual = url.is_tls ? ":443" : ":80";
  return authority.ends_with(usual) ? authority.substr(0, authority.size() - usual.size()) : authority;
}

template <class Stream>
asio::awaitable<Result<int>> exchange(Stream& stream, const OutboundRequest& request, const Url& url) {
  http::request<http::string_body> message;
  message.version(11);
  message.method(http::verb::post);
  message.target(url.target);
  message.set(http::field::host, host_field(url));
  message.set(http::field::user_agent, "freshet");
  message.set(http::field::connection, "close");
  for (const HttpHeader& header : request.headers) message.set(header.name, header.value);
  message.body() = request.body;
  message.prepare_payload();
  auto [not_sent, sent] = co_await http::async_write(stream, message, kAwait);

  // A peer that refuses a body may answer before it has read all of it.
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.header_limit(kHeaderBytesMax);
  parser.body_limit(kBodyBytesMax);
  auto [no_header, read] = co_await http::async_read_header(stream, buffer, parser, kAwait);
  if (not_sent && no_header) co_return failed("cannot send to", url, not_sent);
  if (no_header) co_return failed("no answer from", url, no_header);
  const int status = static_cast<int>(parser.get().result_int());
  co_await http::async_read(stream, buffer, parser, kAwait);
  co_return status;
}

// Connects to the first address that the policy allows and that answers.
asio::awaitable<Status> connect(tcp::socket& socket, const Url& url, const AddressPolicy& policy) {
  tcp::resolver resolver(socket.get_executor());
  auto [unknown, found] = co_await resolver.async_resolve(url.host, std::to_string(url.port), kAwait);
  if (unknown) co_return failed("cannot find", url, unknown);
  Status why = unavailable("no address is known of " + url.authority());
  for (const auto& entry : found) {
    // The address itself is judged and connected to; the name is not looked up again.
    const tcp::endpoint endpoint = entry.endpoint();
    if (Status allowed = policy.check(endpoint.address().to_string()); !allowed.is_ok()) {
      why = std::move(allowed).with_context("refused to connect to " + url.authority());
      continue;
    }
    error_code ignored;  // it may be closed already
    socket.close(ignored);
    auto [error] = co_await socket.async_connect(endpoint, kAwait);
    if (!error) co_return Status::ok();
    why = failed("cannot reach", url, error);
  }
  co_return why;
}

asio::awaitable<Result<int>> post(const OutboundRequest& request, const Url& url, const AddressPolicy& policy) {
  auto executor = co_await asio::this_coro::executor;
  tcp::socket socket(executor);
  if (Status connected = co_await connect(socket, url, policy); !connected.is_ok()) co_return connected;
  if (!url.is_tls) co_return co_await exchange(socket, request, url);

  error_code error;
  asio::ssl::context tls(asio::ssl::context::tls_client);
  tls.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                  asio::ssl::context::no_tlsv1_1);
  tls.set_verify_mode(asio::ssl::verify_peer);
  if (request.ca_file.empty()) {
    tls.set_default_verify_paths(error);
  } else {
    tls.load_verify_file(request.ca_file.string(), error);
  }
  if (error) co_return failed("cannot read the certificates to trust for", url, error);
  asio::ssl::stream<tcp::socket> stream(std::move(socket), tls);
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  if (!SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str())) {
    co_return unavailable("cannot name " + url.host + " in the TLS handshake");
  }
  auto [no_tls] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAwait);
  if (no_tls) co_return failed("no TLS with", url, no_tls);
  co_return co_await exchange(stream, request, url);
}

asio::awaitable<void> run(const OutboundRequest& request, const Url& url, const AddressPolicy& policy,
                          std::optional<Result<int>>* result) {
  result->emplace(co_await post(request, url, policy));
}

}  // namespace

Result<int> post_outbound(const OutboundRequest& request, const AddressPolicy& policy) {
  ASSIGN_OR_RETURN(Url url, parse_web_url(request.url));
  std::optional<Result<int>> result;
  std::exception_ptr thrown;
  try {
    asio::io_context io(1);
    asio::co_spawn(io, run(request, url, policy, &result), [&](std::exception_ptr error) { thrown = error; });
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(request.timeout.us);
    while (!result && !thrown && std::chrono::steady_clock::now() < end) {
      if (request.is_cancelled != nullptr && *request.is_cancelled) return cancelled("the request was given up");
      io.run_until(std::min(end, std::chrono::steady_clock::now() + kCancelCheck));
    }
    if (thrown) std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return internal(std::string("outbound request: ") + error.what());
  }
  if (!result) return deadline("no answer from " + url.authority() + " in time");
  return std::move(*result);
}

}  // namespace freshet::net
