// PrometheusMetrics: what /metrics answers. The control plane's part is counted from the store at each scrape; the HTTP
// server's part is counted as it happens. Any thread.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "daemon/control/context.h"
#include "daemon/http/http_metrics.h"

namespace freshet {

class PrometheusMetrics final : public http::HttpMetrics {
 public:
  PrometheusMetrics();
  ~PrometheusMetrics() override;

  void answered(std::string_view method, std::string_view route, int status, Duration latency) override;
  void connection_opened() override;
  void connection_closed() override;

  // The text exposition format, version 0.0.4.
  Result<std::string> text(const control::Context& context) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet
