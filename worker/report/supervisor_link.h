// A rank's connection to its gang's supervisor: says hello, receives the attempt, sends milestones, outputs and, at a
// bad end, the reason. Metrics go through the shared-memory ring instead, which never waits. One thread; blocking.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/metric_ring.h"
#include "base/status.h"
#include "base/time.h"
#include "proto/attempt.pb.h"
#include "worker/report/reporter.h"

namespace freshet::worker {

class SupervisorLink final : public Reporter {
 public:
  // Connects and says who this rank is.
  static Result<std::unique_ptr<SupervisorLink>> connect(const std::filesystem::path& socket, int rank);

  // The answer to hello. Rank 0 opens the metric ring that the attempt names.
  Result<v1::AttemptSpec> receive_attempt();

  // The reason why this rank is about to exit. What goes wrong here has nowhere to be told but standard error.
  Status fail(const std::string& message);

  Status milestone(std::string_view name) override;
  Status produced(const v1::ProducedOutput& output) override;
  void metric(std::string_view name, double value, int64_t step) override;

 private:
  SupervisorLink(Fd socket, int rank) : socket_(std::move(socket)), rank_(rank) {}
  Status send(const v1::RankFrame& frame);

  Fd socket_;
  const int rank_;
  SystemClock clock_;
  std::optional<MetricRing> ring_;
};

}  // namespace freshet::worker
