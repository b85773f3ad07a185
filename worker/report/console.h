// What a worker started by hand reports: one line an event on standard output, "milestone decoded 1.204 s". Times are
// seconds since the object was made. One thread.
#pragma once

#include "base/time.h"
#include "worker/report/reporter.h"

namespace freshet::worker {

class ConsoleReporter final : public Reporter {
 public:
  ConsoleReporter() : start_(clock_.monotonic()) {}
  Status milestone(std::string_view name) override;
  Status produced(const v1::ProducedOutput& output) override;
  void metric(std::string_view name, double value, int64_t step) override;

 private:
  SystemClock clock_;
  Time start_;
};

}  // namespace freshet::worker
