// A running server on a free port for the tests of http/, and a plain socket to send it exactly the bytes of a test.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/random.h"
#include "base/time.h"
#include "daemon/http/http_server.h"
#include "net/http_client.h"

namespace freshet::http::test {

constexpr int kReadLimitMs = 10'000;

// A client that says what the test wrote and nothing else.
class RawSocket {
 public:
  // `from` is the address that the server sees: anything in 127.0.0.0/8.
  explicit RawSocket(uint16_t port, const char* from = "127.0.0.1")
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    EXPECT_EQ(::inet_pton(AF_INET, from, &address.sin_addr), 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server has closed; the test looks at what it said
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // Sends byte after byte, each behind a pause, until the server says something or the bytes are out.
  size_t drip(std::string_view bytes, int pause_ms) {
    pollfd poller{fd_.get(), POLLIN, 0};
    size_t sent = 0;
    while (sent < bytes.size() && ::poll(&poller, 1, pause_ms) == 0) send(bytes.substr(sent++, 1));
    return sent;
  }
  void finish_sending() { ::shutdown(fd_.get(), SHUT_WR); }

  // Reads until `text` has come; everything so far. Fails the test when the server closes or falls silent before.
  std::string read_until(std::string_view text) {
    while (received_.find(text) == std::string::npos) {
      if (!read_some()) {
        ADD_FAILURE() << "'" << text << "' did not come; there is only: " << received_;
        break;
      }
    }
    return received_;
  }
  // Everything until the server closes; nullopt when it does not.
  std::optional<std::string> read_all() {
    while (read_some()) {
    }
    if (!is_closed_) return std::nullopt;
    return received_;
  }
  // Forgets what was read so far.
  void forget() { received_.clear(); }

 private:
  bool read_some() {
    pollfd poller{fd_.get(), POLLIN, 0};
    if (::poll(&poller, 1, kReadLimitMs) != 1) return false;
    char piece[4096];
    ssize_t got = ::recv(fd_.get(), piece, sizeof(piece), 0);
    if (got <= 0) {
      is_closed_ = true;
      return false;
    }
    received_.append(piece, static_cast<size_t>(got));
    return true;
  }

  Fd fd_;
  std::string received_;
  bool is_closed_ = false;
};

class RecordingMetrics final : public HttpMetrics {
 public:
  void answered(std::string_view method, std::string_view route, int status, Duration latency) override {
    std::lock_guard lock(mutex_);
    EXPECT_GE(latency.us, 0);
    ++answers_[std::string(method) + " " + std::string(route) + " " + std::to_string(status)];
  }
  void connection_opened() override {
    std::lock_guard lock(mutex_);
    ++open_;
  }
  void connection_closed() override {
    std::lock_guard lock(mutex_);
    --open_;
  }
  int answers(const std::string& what) const {
    std::lock_guard lock(mutex_);
    auto found = answers_.find(what);
    return found == answers_.end() ? 0 : found->second;
  }
  int open() const {
    std::lock_guard lock(mutex_);
    return open_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, int> answers_;
  int open_ = 0;
};

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() : io_(2), pool_("pool", 4, 64), authenticator_(clock_) {
    SeededRandom random(7);
    token_ = new_token("admin", random);
    authenticator_.add_token("admin", token_, PermissionSet::all());
    reader_token_ = new_token("reader", random);
    authenticator_.add_token("reader", reader_token_, {Permission::kRead});
    options_.listen = "127.0.0.1:0";
  }

  // After the routes are there.
  void start() {
    io_.start();
    Result<std::unique_ptr<HttpServer>> server =
        HttpServer::start(options_, router_, authenticator_, io_, pool_, &metrics_);
    ASSERT_TRUE(server.is_ok()) << server.status().to_string();
    server_ = std::move(*server);
  }

  void TearDown() override {
    if (server_) server_->stop(Duration::seconds(5));
    EXPECT_EQ(metrics_.open(), 0);
    server_.reset();
    pool_.stop();
    io_.stop();
  }

  std::string host() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  std::string url(const std::string& target) const { return server_->url() + target; }

  // A request with the right Host and the admin's token.
  std::string request(const std::string& line, const std::string& more_fields = "",
                      const std::string& body = "") const {
    return line + " HTTP/1.1\r\nHost: " + host() + "\r\nAuthorization: Bearer " + token_ + "\r\n" + more_fields +
           "\r\n" + body;
  }

  net::HttpClient client() const {
    net::HttpClientOptions options;
    options.bearer_token = token_;
    options.idle_timeout = Duration::millis(kReadLimitMs);
    return net::HttpClient(options);
  }

  SystemClock clock_;
  async::IoThreads io_;
  async::WorkerPool pool_;
  Authenticator authenticator_;
  Router router_;
  RecordingMetrics metrics_;
  HttpServerOptions options_;
  std::string token_;
  std::string reader_token_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace freshet::http::test
