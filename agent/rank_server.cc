#include "agent/rank_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/gang_files.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/process.h"

namespace freshet::agent {

RankServer::RankServer(Fd listener, int epoll_fd, std::string welcome, FrameSink on_frame)
    : listener_(std::move(listener)),
      epoll_fd_(epoll_fd),
      welcome_(std::move(welcome)),
      on_frame_(std::move(on_frame)) {}

Result<RankServer> RankServer::listen(const std::string& name, int epoll_fd, const v1::AttemptSpec& attempt,
                                      FrameSink on_frame) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  CHECK(name.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, name.data(), name.size());
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.is_open()) return errno_status("socket", errno);
  ::unlink(name.c_str());
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_status("bind " + name, errno);
  }
  if (::listen(listener.get(), SOMAXCONN) != 0) return errno_status("listen on " + name, errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = listener.get();
  if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener.get(), &event) != 0) return errno_status("epoll_ctl", errno);
  v1::SupervisorFrame welcome;
  *welcome.mutable_attempt() = attempt;
  return RankServer(std::move(listener), epoll_fd, encode_frame(welcome), std::move(on_frame));
}

bool RankServer::handle(int fd, uint32_t events) {
  if (fd == listener_.get()) {
    accept_all();
    return true;
  }
  auto found = connections_.find(fd);
  if (found == connections_.end()) return false;
  Connection& connection = found->second;
  bool open = true;
  if ((events & EPOLLOUT) != 0) open = write_to(connection);
  if (open && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) open = read_from(connection);
  if (!open) connections_.erase(found);  // closing takes it out of the epoll set
  return true;
}

void RankServer::drain() {
  accept_all();
  for (auto& [fd, connection] : connections_) read_from(connection);
  connections_.clear();
}

void RankServer::accept_all() {
  for (;;) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.is_open()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) log_error("supervisor", std::string("accept: ") + std::strerror(errno));
      return;
    }
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd.get();
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd.get(), &event) != 0) {
      log_error("supervisor", std::string("epoll_ctl: ") + std::strerror(errno));
      continue;
    }
    const int key = fd.get();
    Connection connection;
    connection.fd = std::move(fd);
    connection.pid = peer.pid;
    connections_.emplace(key, std::move(connection));
  }
}

bool RankServer::read_from(Connection& connection) {
  for (;;) {
    char buffer[1 << 16];
    ssize_t n = ::read(connection.fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    connection.decoder.feed(std::string_view(buffer, static_cast<size_t>(n)));
    for (;;) {
      v1::RankFrame frame;
      auto more = connection.decoder.next(&frame);
      if (!more.is_ok()) {
        log_warning("supervisor", "process " + std::to_string(connection.pid) +
                                      " does not speak our protocol: " + more.status().message());
        return false;
      }
      if (!*more) break;
      if (frame.has_hello()) on_hello(connection, frame);
      on_frame_(frame);
    }
  }
}

void RankServer::on_hello(Connection& connection, v1::RankFrame& frame) {
  v1::Process* process = frame.mutable_hello()->mutable_process();
  process->set_rank(frame.hello().rank());
  if (auto identity = identify(connection.pid); identity.is_ok()) {
    *process = to_proto(*identity, frame.hello().rank());
  }
  connection.outbox += welcome_;
  // A failed write shows up as an event on the descriptor; the rank is gone then.
  CRASH_POINT("supervisor.welcome.before_send");
  [[maybe_unused]] bool open = write_to(connection);
  CRASH_POINT("supervisor.welcome.after_send");
}

bool RankServer::write_to(Connection& connection) {
  while (connection.sent < connection.outbox.size()) {
    ssize_t n = ::send(connection.fd.get(), connection.outbox.data() + connection.sent,
                       connection.outbox.size() - connection.sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return false;
    if (n < 0) break;
    connection.sent += static_cast<size_t>(n);
  }
  const bool done = connection.sent == connection.outbox.size();
  if (done) {
    connection.outbox.clear();
    connection.sent = 0;
  }
  epoll_event event{};
  event.events = done ? EPOLLIN : EPOLLIN | EPOLLOUT;
  event.data.fd = connection.fd.get();
  return ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, connection.fd.get(), &event) == 0;
}

}  // namespace freshet::agent
