// Connection: one TCP connection and the coroutine that serves its requests one after the other. Private to the server.
// Everything runs on the connection's IO loop; drain() and wake_stream() may be called from any thread.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "daemon/http/body_reader.h"
#include "daemon/http/header_gate.h"
#include "daemon/http/server_core.h"

namespace freshet::http {

using SteadyTime = std::chrono::steady_clock::time_point;

class Connection final : public Served, public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerCore> core, boost::asio::ip::tcp::socket socket, std::string peer);
  ~Connection() override;

  // Registers; false when the server takes no more.
  bool begin();
  static boost::asio::awaitable<void> serve(std::shared_ptr<Connection> self);

  void drain() override;
  void wake_stream() override;

 private:
  template <class T>
  using awaitable = boost::asio::awaitable<T>;

  // What is known of the request being served.
  struct Exchange {
    RequestHead head;
    std::string head_bytes;
    const Route* route = nullptr;
    SteadyTime begin;
    SteadyTime deadline;
    bool keep_alive = false;
    bool is_read = false;  // nothing of the request is still to come
  };

  // Each gives false when the connection ends.
  awaitable<bool> serve_one();
  awaitable<bool> read_head(std::string* head_bytes);
  awaitable<bool> dispatch(std::shared_ptr<Exchange> exchange);
  awaitable<bool> run_handler(std::shared_ptr<Exchange> exchange, std::shared_ptr<Request> request,
                              Principal principal);
  awaitable<bool> run_upload(std::shared_ptr<Exchange> exchange, std::shared_ptr<Request> request, Principal principal);
  awaitable<bool> answer(std::shared_ptr<Exchange> exchange, Response response);
  awaitable<bool> answer_stream(std::shared_ptr<Exchange> exchange, Response response);
  awaitable<bool> refuse(std::shared_ptr<Exchange> exchange, int status, Status why);
  awaitable<bool> send_continue(const Exchange& exchange);

  // The next piece of the body; a refusal when there is none. Empty and done: the end.
  awaitable<std::optional<GateRefusal>> read_body(BodyReader& reader, std::string* decoded);

  awaitable<bool> read_some();
  awaitable<bool> write(std::string_view bytes);
  awaitable<void> linger();
  awaitable<void> wait_for_stream(SteadyTime last_poll, SteadyTime heartbeat_at);
  awaitable<void> upgrade(std::shared_ptr<Exchange> exchange, Principal principal);
  void count(const Exchange& exchange, int status);

  // One deadline at a time: when it comes, what the socket does is cancelled and `timed_out_` set.
  void arm(SteadyTime limit);
  void arm_for(Duration limit);
  void disarm();

  std::shared_ptr<ServerCore> core_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer limit_;
  boost::asio::steady_timer stream_timer_;
  uint64_t id_ = 0;
  std::string peer_;
  std::string in_;  // bytes that came and are not consumed
  uint64_t limit_generation_ = 0;
  bool timed_out_ = false;
  bool is_idle_ = false;  // between requests, nothing of the next one has come
  bool is_draining_ = false;
  bool is_woken_ = false;  // since the last poll of the stream
  std::atomic<bool> is_streaming_ = false;
  std::atomic<bool> wake_is_posted_ = false;
};

}  // namespace freshet::http
