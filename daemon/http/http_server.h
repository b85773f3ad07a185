// HttpServer: listens on loopback, lets requests through the gate, finds the route, checks the token and its
// permission, runs the handler on the worker pool and sends its answer; streams and WebSockets likewise. Owned by the
// app; start() and stop() by one thread, wake_streams() by any. It knows nothing of Freshet's records.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "daemon/async/io_threads.h"
#include "daemon/async/worker_pool.h"
#include "daemon/http/authenticator.h"
#include "daemon/http/http_metrics.h"
#include "daemon/http/router.h"

namespace freshet::http {

struct HttpServerOptions {
  std::string listen = "127.0.0.1:7070";  // port 0: a free one
  std::vector<std::string> hosts;  // more values of Host to answer to, with port; the loopback names always count
  size_t connections_max = 1024;
  size_t connections_per_peer_max = 512;           // of one address
  Duration header_limit = Duration::seconds(5);    // from the first byte of a request to the end of its header
  Duration idle_limit = Duration::seconds(60);     // of a kept-alive connection between requests
  Duration write_limit = Duration::seconds(30);    // for a piece of an answer to leave
  Duration heartbeat = Duration::seconds(10);      // of a silent event stream
  Duration poll_interval = Duration::millis(500);  // of a stream that nobody wakes
  Duration websocket_idle_limit = Duration::seconds(10);
  size_t websocket_frame_bytes_max = 16u << 20;
  size_t websocket_queue_bytes_max = 64u << 20;
};

class HttpServer {
 public:
  // Binds and serves. invalid_argument: not a loopback address (there is no TLS yet). unavailable: the port is in use,
  // with what to do about it. All that is passed outlives the server; `metrics` may be null.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, const Router& router,
                                                   Authenticator& authenticator, async::IoThreads& io,
                                                   async::WorkerPool& pool, HttpMetrics* metrics = nullptr);
  // stop(0).
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:7070"

  // What streams show may have changed: each is asked again soon (at most fifty times a second). Cheap.
  void wake_streams();

  // Takes no more connections, lets requests in progress end, ends streams and closes WebSockets; what is left after
  // `drain` is cut off. Then nothing of the server runs any more, but handlers whose deadline passed may still be in
  // the pool. Idempotent. The IO threads must still run.
  void stop(Duration drain);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::http
