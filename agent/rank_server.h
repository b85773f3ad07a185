// The supervisor's Unix socket: takes the ranks' connections, answers a hello with the attempt, and hands on what they
// report. Never blocks: a rank that does not read waits for itself. Driven by the supervisor's event loop, one thread.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "proto/attempt.pb.h"
#include "proto/frame.h"

namespace freshet::agent {

class RankServer {
 public:
  // `on_frame` gets every frame; the process of a hello is the kernel's word, not the rank's.
  using FrameSink = std::function<void(const v1::RankFrame& frame)>;

  // Listens on `name` in the current directory (a Unix socket's path holds at most 107 bytes) and registers with the
  // epoll instance, with descriptors as its data.
  static Result<RankServer> listen(const std::string& name, int epoll_fd, const v1::AttemptSpec& attempt,
                                   FrameSink on_frame);

  // Handles readiness of one descriptor; false: it is none of this server's.
  bool handle(int fd, uint32_t events);

  // Takes what is still on the way once all ranks are dead: waiting connections and unread frames, until each ends.
  void drain();

 private:
  struct Connection {
    Fd fd;
    FrameDecoder decoder;
    std::string outbox;
    size_t sent = 0;
    pid_t pid = 0;
  };

  RankServer(Fd listener, int epoll_fd, std::string welcome, FrameSink on_frame);
  void accept_all();
  // False: the connection is over.
  bool read_from(Connection& connection);
  bool write_to(Connection& connection);
  void on_hello(Connection& connection, v1::RankFrame& frame);

  Fd listener_;
  int epoll_fd_;
  std::string welcome_;  // the SupervisorFrame, encoded once
  FrameSink on_frame_;
  std::map<int, Connection> connections_;
};

}  // namespace freshet::agent
