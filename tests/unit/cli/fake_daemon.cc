#include "tests/unit/cli/fake_daemon.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <charconv>

#include "proto/json.h"

namespace freshet::cli::test {
namespace {

constexpr int kLimitMs = 10'000;

// The value of a header in the head of a request, without regard to case; empty when there is none.
std::string header_of(const std::string& head, std::string name) {
  for (size_t begin = head.find("\r\n") + 2; begin < head.size();) {
    const size_t end = std::min(head.find("\r\n", begin), head.size());
    const std::string line = head.substr(begin, end - begin);
    const size_t colon = line.find(':');
    if (colon == name.size() && ::strcasecmp(line.substr(0, colon).c_str(), name.c_str()) == 0) {
      return line.substr(line.find_first_not_of(' ', colon + 1));
    }
    begin = end + 2;
  }
  return "";
}

std::string received(int fd) {
  std::string text;
  size_t whole = std::string::npos;
  while (text.size() < whole) {
    pollfd poller{fd, POLLIN, 0};
    char piece[4096];
    if (::poll(&poller, 1, kLimitMs) != 1) break;
    const ssize_t got = ::recv(fd, piece, sizeof piece, 0);
    if (got <= 0) break;
    text.append(piece, static_cast<size_t>(got));
    const size_t end = text.find("\r\n\r\n");
    if (whole != std::string::npos || end == std::string::npos) continue;
    const std::string length = header_of(text.substr(0, end + 2), "Content-Length");
    whole = end + 4 + (length.empty() ? 0 : std::stoul(length));
  }
  return text;
}

}  // namespace

FakeDaemon::FakeDaemon() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  CHECK(::listen(listener_.get(), 16) == 0);
  CHECK(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

FakeDaemon::~FakeDaemon() {
  ::shutdown(listener_.get(), SHUT_RDWR);  // wakes accept()
  thread_.join();
}

void FakeDaemon::on(const std::string& method_and_path, Reply reply) {
  std::lock_guard lock(mutex_);
  replies_[method_and_path].push_back(std::move(reply));
}

void FakeDaemon::on(const std::string& method_and_path, const google::protobuf::Message& message) {
  Reply reply;
  reply.body = to_json(message);
  on(method_and_path, std::move(reply));
}

void FakeDaemon::on_events(const std::string& path, const std::vector<std::string>& messages) {
  Reply reply;
  reply.type = "text/event-stream";
  for (const auto& message : messages) reply.body += "event: run\ndata: " + message + "\n\n";
  on("GET " + path, std::move(reply));
}

std::vector<Asked> FakeDaemon::asked() const {
  std::lock_guard lock(mutex_);
  return asked_;
}

void FakeDaemon::serve() {
  while (true) {
    Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.is_open()) return;
    answer(connection.get());
  }
}

void FakeDaemon::answer(int fd) {
  const std::string text = received(fd);
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos) return;
  Asked asked;
  const std::string line = text.substr(0, text.find("\r\n"));
  asked.method = line.substr(0, line.find(' '));
  const size_t begin = asked.method.size() + 1;
  const std::string target = line.substr(begin, line.find(' ', begin) - begin);
  const size_t mark = target.find('?');
  asked.path = target.substr(0, mark);
  if (mark != std::string::npos) asked.query = target.substr(mark + 1);
  const std::string authorization = header_of(text.substr(0, end + 2), "Authorization");
  if (authorization.starts_with("Bearer ")) asked.token = authorization.substr(7);
  asked.idempotency_key = header_of(text.substr(0, end + 2), "Idempotency-Key");
  asked.body = text.substr(end + 4);

  Reply reply{.status = 404,
              .body = R"({"code": "not_found", "message": "the fake daemon has no )" + asked.path + "\"}"};
  {
    std::lock_guard lock(mutex_);
    auto found = replies_.find(asked.method + " " + asked.path);
    if (found != replies_.end()) {
      reply = found->second.front();
      if (found->second.size() > 1) found->second.erase(found->second.begin());
    }
    asked_.push_back(std::move(asked));
  }
  if (reply.is_lost) return;
  std::string answer =
      "HTTP/1.1 " + std::to_string(reply.status) + " Said\r\nContent-Type: " + reply.type + "\r\nConnection: close\r\n";
  for (const auto& header : reply.headers) answer += header + "\r\n";
  // A stream has no length: its end is the end of the connection.
  if (reply.type != "text/event-stream") answer += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
  answer += "\r\n" + reply.body;
  ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
}

}  // namespace freshet::cli::test
