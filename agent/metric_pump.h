// From the metrics ring that rank 0 fills to batches for the journal. Points that the ring has overwritten are counted,
// never waited for. Driven by the supervisor's event loop, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/metric_ring.h"
#include "base/time.h"
#include "proto/run.pb.h"

namespace freshet::agent {

class MetricPump {
 public:
  static constexpr Duration kDrainEvery = Duration::millis(50);
  static constexpr Duration kBatchEvery = Duration::millis(250);
  static constexpr int kBatchMax = 4096;

  explicit MetricPump(MetricRing ring) : ring_(std::move(ring)) {}

  // Reads what is new. A batch when the last one is kBatchEvery ago or kBatchMax points wait; `monotonic` is now.
  std::optional<v1::MetricHistory> pump(Time monotonic);
  // Everything that is left.
  std::optional<v1::MetricHistory> finish();

  uint64_t lost() const { return lost_; }

 private:
  void drain();
  std::optional<v1::MetricHistory> take();

  MetricRing ring_;
  uint64_t next_ = 0;
  uint64_t lost_ = 0;
  Time last_batch_{};
  std::vector<MetricPoint> points_;
  v1::MetricHistory batch_;
};

}  // namespace freshet::agent
