// Where a task says what it has reached: milestones, outputs and metrics. A task calls it on its main thread only; all
// calls return at once (a metric may be dropped, never waited for). Implementations: the supervisor's socket and ring,
// or standard output for a worker that was started by hand.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "proto/attempt.pb.h"

namespace freshet::worker {

class Reporter {
 public:
  virtual ~Reporter() = default;
  // "decoded", "first_step", "trained", "evaluated", with the time of the call.
  virtual Status milestone(std::string_view name) = 0;
  // An output that is sealed: on disk, under its final name.
  virtual Status produced(const v1::ProducedOutput& output) = 0;
  // One point of a curve.
  virtual void metric(std::string_view name, double value, int64_t step) = 0;
};

// Drops everything: the ranks other than 0, and tests.
class SilentReporter final : public Reporter {
 public:
  Status milestone(std::string_view) override { return Status::ok(); }
  Status produced(const v1::ProducedOutput&) override { return Status::ok(); }
  void metric(std::string_view, double, int64_t) override {}
};

}  // namespace freshet::worker
