#include "agent/metric_pump.h"

#include <string_view>

#include "agent/text.h"

namespace freshet::agent {

std::optional<v1::MetricHistory> MetricPump::pump(Time monotonic) {
  drain();
  if (monotonic - last_batch_ < kBatchEvery && batch_.samples_size() < kBatchMax) return std::nullopt;
  auto batch = take();
  if (batch) last_batch_ = monotonic;
  return batch;
}

std::optional<v1::MetricHistory> MetricPump::finish() {
  drain();
  return take();
}

void MetricPump::drain() {
  points_.clear();
  lost_ += ring_.drain(&next_, &points_);
  for (const auto& point : points_) {
    auto* sample = batch_.add_samples();
    // The ring cuts long names at a byte.
    sample->set_name(valid_utf8(std::string_view(point.name)));
    sample->set_value(point.value);
    sample->set_step(point.step);
    sample->set_time_us(point.time_us);
  }
}

std::optional<v1::MetricHistory> MetricPump::take() {
  if (batch_.samples_size() == 0) return std::nullopt;
  v1::MetricHistory batch;
  batch.Swap(&batch_);
  return batch;
}

}  // namespace freshet::agent
