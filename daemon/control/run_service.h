// RunService: runs as people and programs see them: submit, list, show, cancel, curves and logs. Called by API
// handlers, from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/log_reader.h"
#include "daemon/control/paging.h"
#include "daemon/store/tables.h"
#include "proto/api.pb.h"

namespace freshet::control {

struct RunFilter {
  std::string pipeline;  // empty: all
  std::string state;     // "RUNNING"; empty: all
};

struct LogChunk {
  std::string text;
  uint64_t next_offset = 0;
  bool complete = false;  // the attempt has ended and everything has been read
};

class RunService {
 public:
  RunService(Context& context, const LogReader& logs) : context_(context), logs_(logs) {}

  Result<v1::Run> submit(const Caller& caller, const v1::SubmitRequest& request);
  Result<v1::ListRunsResponse> list_runs(const std::string& project, const RunFilter& filter, const PageRequest& page);
  // `id` may be an unambiguous prefix of at least 4 digits.
  Result<v1::RunView> get_run(const std::string& project, const std::string& id);
  Result<v1::Run> cancel(const Caller& caller, const std::string& project, const std::string& id,
                         const std::string& reason);
  // Points of one metric, or of all when `name` is empty, in the order in which they were logged.
  Result<v1::RunMetricsResponse> metrics(const std::string& project, const std::string& id, const std::string& name,
                                         const PageRequest& page);
  // The log of the newest attempt of the step (empty: the step that ran last).
  Result<LogChunk> logs(const std::string& project, const std::string& id, const std::string& step,
                        const std::string& stream, uint64_t offset);
  // The run and its newest metrics, for following it. `revision` changes whenever either does.
  struct Event {
    v1::RunEvent event;
    std::string fingerprint;
  };
  Result<Event> event(const std::string& project, const std::string& id);

 private:
  Result<Record<v1::Run>> find(const Snapshot& snapshot, const std::string& project, const std::string& id);

  Context& context_;
  const LogReader& logs_;
};

}  // namespace freshet::control
