// A server for the tests of the clients that answers with the bytes it is told to and does nothing else: the daemon's
// server would never say half of them.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "base/file.h"

namespace freshet::net::test {

constexpr int kLimitMs = 10'000;

// One accepted connection, in the hands of the script.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}

  // Reads until `text` has come; what was read is forgotten. false: the client closed.
  bool expect(std::string_view text) {
    while (received_.find(text) == std::string::npos) {
      pollfd poller{fd_.get(), POLLIN, 0};
      char piece[4096];
      if (::poll(&poller, 1, kLimitMs) != 1) return false;
      ssize_t got = ::recv(fd_.get(), piece, sizeof(piece), 0);
      if (got <= 0) return false;
      received_.append(piece, static_cast<size_t>(got));
    }
    last_ = std::move(received_);
    received_.clear();
    return true;
  }
  const std::string& last() const { return last_; }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  void wait_for_close() {
    char piece[4096];
    pollfd poller{fd_.get(), POLLIN, 0};
    while (::poll(&poller, 1, kLimitMs) == 1 && ::recv(fd_.get(), piece, sizeof(piece), 0) > 0) {
    }
  }

 private:
  Fd fd_;
  std::string received_;
  std::string last_;
};

// Hands out the descriptors of its connections.
class RawServer {
 public:
  // `serve` gets each connection, one after the other, `connections` of them.
  RawServer(int connections, std::function<void(int fd)> serve)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_.get(), 8), 0);
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, connections, serve = std::move(serve)] {
      for (int i = 0; i < connections; ++i) {
        pollfd poller{fd_.get(), POLLIN, 0};
        if (::poll(&poller, 1, kLimitMs) != 1) return;
        Fd connection(::accept(fd_.get(), nullptr, nullptr));
        serve(connection.get());
      }
    });
  }
  ~RawServer() { thread_.join(); }

  uint16_t port() const { return port_; }

 private:
  Fd fd_;
  uint16_t port_ = 0;
  std::thread thread_;
};

class ScriptedServer {
 public:
  // `script` gets each connection, one after the other, `connections` of them.
  ScriptedServer(int connections, std::function<void(Peer&, int)> script)
      : server_(connections, [script = std::move(script), i = 0](int fd) mutable {
          Peer peer(::dup(fd));
          script(peer, i++);
        }) {}

  std::string url(const std::string& target) const {
    return "http://127.0.0.1:" + std::to_string(server_.port()) + target;
  }

 private:
  RawServer server_;
};

// A port on which nothing listens.
inline std::string dead_url() {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/";
}

}  // namespace freshet::net::test
