// What the HTTP server counts, as verbs; the daemon's metrics implement it. Called on IO threads: must not block.
#pragma once

#include <string_view>

#include "base/time.h"

namespace freshet::http {

class HttpMetrics {
 public:
  virtual ~HttpMetrics() = default;
  // A request was answered. `route` is the pattern ("/api/v1/runs/{id}"), or "" when none matched or the request was
  // refused before routing, so the number of label values is bounded. Streams count when their header is sent.
  virtual void answered(std::string_view method, std::string_view route, int status, Duration latency) = 0;
  virtual void connection_opened() = 0;
  virtual void connection_closed() = 0;
};

}  // namespace freshet::http
