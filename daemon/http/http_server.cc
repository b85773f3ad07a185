#include "daemon/http/http_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "daemon/http/connection.h"
#include "daemon/http/server_core.h"
#include "net/url.h"

namespace freshet::http {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kPauseAfterFailedAccept = std::chrono::milliseconds(100);
constexpr Duration kCutOffLimit = Duration::seconds(10);

Result<tcp::endpoint> parse_listen(const std::string& listen) {
  size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  std::string port = colon == std::string::npos ? "" : listen.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  error_code error;
  asio::ip::address address = asio::ip::make_address(host, error);
  bool is_number = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (error || !is_number || std::stoul(port) > 65535) {
    return invalid_argument("cannot listen on '" + listen + "': write ADDRESS:PORT, like 127.0.0.1:7070");
  }
  if (!address.is_loopback()) {
    return invalid_argument("refusing to listen on " + listen +
                            ": there is no TLS yet, so tokens would cross the network in clear text; use 127.0.0.1 or "
                            "[::1], and a tunnel to reach it from elsewhere");
  }
  return tcp::endpoint(address, static_cast<uint16_t>(std::stoul(port)));
}

Status listen_failed(const tcp::endpoint& endpoint, const error_code& error) {
  std::string port = std::to_string(endpoint.port());
  if (error == asio::error::address_in_use) {
    return unavailable("port " + port +
                       " is in use: another freshetd or another program listens on it; stop that one, or " +
                       "choose another port with --listen 127.0.0.1:PORT (0 takes a free one)");
  }
  return unavailable("cannot listen on port " + port + ": " + error.message());
}

}  // namespace

struct HttpServer::Impl {
  Impl(std::shared_ptr<ServerCore> c, async::IoThreads& i) : core(std::move(c)), io(i), acceptor(io.loop(0)) {}

  std::shared_ptr<ServerCore> core;
  async::IoThreads& io;
  tcp::acceptor acceptor;
  tcp::endpoint bound;
  bool is_stopped = false;

  Status listen(const tcp::endpoint& endpoint);
  static asio::awaitable<void> accept(Impl* self);
  void serve(tcp::socket socket, const tcp::endpoint& peer);
};

Status HttpServer::Impl::listen(const tcp::endpoint& endpoint) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) bound = acceptor.local_endpoint(error);
  if (error) return listen_failed(endpoint, error);
  std::string port = ":" + std::to_string(bound.port());
  core->hosts = core->options.hosts;
  for (const char* name : {"127.0.0.1", "localhost", "[::1]"}) core->hosts.push_back(name + port);
  return Status::ok();
}

asio::awaitable<void> HttpServer::Impl::accept(Impl* self) {
  asio::steady_timer pause(self->acceptor.get_executor());
  for (;;) {
    tcp::endpoint peer;
    auto [error, socket] = co_await self->acceptor.async_accept(self->io.next_loop(), peer, kAwait);
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    if (error) {
      // Out of descriptors, most likely: connections that end give some back.
      log_warning("http", "cannot accept a connection: " + error.message());
      pause.expires_after(kPauseAfterFailedAccept);
      co_await pause.async_wait(kAwait);
      continue;
    }
    self->serve(std::move(socket), peer);
  }
}

void HttpServer::Impl::serve(tcp::socket socket, const tcp::endpoint& peer) {
  error_code ignored;  // a latency hint only
  socket.set_option(tcp::no_delay(true), ignored);
  asio::any_io_executor executor = socket.get_executor();
  auto connection = std::make_shared<Connection>(core, std::move(socket), peer.address().to_string());
  if (!connection->begin()) {
    log_warning("http", "refused a connection of " + peer.address().to_string() +
                            ": there are too many, in all or of this address");
    return;
  }
  core->tasks.start(executor, Connection::serve(connection));
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, const Router& router,
                                                      Authenticator& authenticator, async::IoThreads& io,
                                                      async::WorkerPool& pool, HttpMetrics* metrics) {
  ASSIGN_OR_RETURN(tcp::endpoint endpoint, parse_listen(options.listen));
  auto core = std::make_shared<ServerCore>(std::move(options), router, authenticator, pool, metrics);
  auto impl = std::make_unique<Impl>(core, io);
  RETURN_IF_ERROR(impl->listen(endpoint));
  CHECK(core->tasks.start(impl->acceptor.get_executor(), Impl::accept(impl.get())));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { stop(Duration()); }

uint16_t HttpServer::port() const { return impl_->bound.port(); }

std::string HttpServer::url() const {
  return "http://" + net::Url{impl_->bound.address().to_string(), impl_->bound.port(), "/"}.authority();
}

void HttpServer::wake_streams() {
  for (const auto& one : impl_->core->all()) one->wake_stream();
}

void HttpServer::stop(Duration drain) {
  if (std::exchange(impl_->is_stopped, true)) return;
  ServerCore& core = *impl_->core;
  {
    std::lock_guard lock(core.mutex);
    core.is_draining = true;
  }
  asio::post(impl_->acceptor.get_executor(), [impl = impl_.get()] {
    error_code ignored;  // it listens no more either way
    impl->acceptor.close(ignored);
  });
  for (const auto& one : core.all()) one->drain();
  if (core.tasks.wait(drain)) return;
  core.tasks.stop();
  bool ended = core.tasks.wait(kCutOffLimit);
  CHECK_MSG(ended, "the HTTP server's tasks did not end");
}

}  // namespace freshet::http
