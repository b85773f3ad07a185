// Private to net/: runs one asynchronous operation of Asio to its end on the calling thread, so that the blocking
// clients get the timeouts that Beast gives only to asynchronous operations.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <utility>

#include "base/status.h"
#include "base/time.h"
#include "net/url.h"

namespace freshet::net {

// `start` receives the completion handler. Returns when the operation has completed; it must have a deadline of its
// own.
template <class Start>
boost::system::error_code wait(boost::asio::io_context& io, Start&& start) {
  boost::system::error_code result = boost::asio::error::operation_aborted;
  bool is_done = false;
  std::forward<Start>(start)([&](boost::system::error_code error, auto&&...) {
    result = error;
    is_done = true;
  });
  // Not run(): Beast's WebSocket leaves a timer behind, and its end is nothing to wait for.
  io.restart();
  while (!is_done && io.run_one() > 0) {
  }
  return result;
}

inline Result<boost::asio::ip::tcp::resolver::results_type> resolve(boost::asio::io_context& io, const Url& url,
                                                                    Duration limit) {
  boost::asio::ip::tcp::resolver resolver(io);
  boost::asio::ip::tcp::resolver::results_type addresses;
  boost::system::error_code result = boost::asio::error::timed_out;
  resolver.async_resolve(url.host, std::to_string(url.port), [&](boost::system::error_code error, auto found) {
    result = error;
    addresses = std::move(found);
  });
  io.restart();
  io.run_for(std::chrono::microseconds(limit.us));
  if (!io.stopped()) {
    resolver.cancel();
    io.run();
  }
  if (result) return unavailable("cannot find " + url.host + ": " + result.message());
  return addresses;
}

}  // namespace freshet::net
