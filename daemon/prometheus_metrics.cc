#include "daemon/prometheus_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "daemon/control/control_metrics.h"

namespace freshet {

struct PrometheusMetrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      prometheus::BuildCounter().Name("freshet_http_requests_total").Help("Answered HTTP requests.").Register(registry);
  prometheus::Histogram& seconds =
      prometheus::BuildHistogram()
          .Name("freshet_http_request_seconds")
          .Help("Time from the end of a request's header to its answer.")
          .Register(registry)
          .Add({}, prometheus::Histogram::BucketBoundaries{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                           0.5, 1, 2.5, 10});
  prometheus::Gauge& connections = prometheus::BuildGauge()
                                       .Name("freshet_http_connections")
                                       .Help("Open HTTP connections.")
                                       .Register(registry)
                                       .Add({});
};

PrometheusMetrics::PrometheusMetrics() : impl_(std::make_unique<Impl>()) {}
PrometheusMetrics::~PrometheusMetrics() = default;

void PrometheusMetrics::answered(std::string_view method, std::string_view route, int status, Duration latency) {
  impl_->requests
      .Add({{"method", route.empty() ? "" : std::string(method)},
            {"route", std::string(route)},
            {"code", std::to_string(status)}})
      .Increment();
  impl_->seconds.Observe(latency.to_seconds());
}

void PrometheusMetrics::connection_opened() { impl_->connections.Increment(); }
void PrometheusMetrics::connection_closed() { impl_->connections.Decrement(); }

Result<std::string> PrometheusMetrics::text(const control::Context& context) const {
  ASSIGN_OR_RETURN(auto families, control::collect_metrics(context));
  for (auto& family : impl_->registry.Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace freshet
