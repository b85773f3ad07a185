// The control plane's metrics, counted from the store at each scrape, so they can't differ from it. Labels are bounded:
// pipelines, models, sources, triggers and states, never a run; a pipeline has one series of each training metric, that
// of its newest live run, and none when it has no live run. docs/METRICS.md lists them; a golden test holds the list.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "daemon/control/context.h"

namespace freshet::control {

Result<std::vector<prometheus::MetricFamily>> collect_metrics(const Context& context);

}  // namespace freshet::control
