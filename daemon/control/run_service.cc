#include "daemon/control/run_service.h"

#include <algorithm>

#include "base/crash_point.h"
#include "daemon/control/outbox.h"
#include "daemon/control/queue.h"
#include "daemon/control/run_factory.h"
#include "daemon/control/run_index.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"
#include "proto/digest.h"
#include "scheduler/run_graph.h"

namespace freshet::control {
namespace {

constexpr size_t kIdPrefixMin = 4;

Result<v1::MetricHistory> latest_metrics(const Snapshot& snapshot, const v1::Run& run) {
  ASSIGN_OR_RETURN(auto latest, get<v1::MetricHistory>(snapshot, keys::latest_metrics(run.project(), run.id())));
  return latest ? latest->value : v1::MetricHistory();
}

// The index that holds just the runs that the filter lets through, by time.
std::string index_of(const std::string& project, const RunFilter& filter) {
  if (!filter.pipeline.empty() && !filter.state.empty()) {
    return keys::runs_by_pipeline_state(project, filter.pipeline, filter.state);
  }
  if (!filter.pipeline.empty()) return keys::runs_by_pipeline(project, filter.pipeline);
  if (!filter.state.empty()) return keys::runs_by_state(project, filter.state);
  return keys::runs_by_time(project);
}

}  // namespace

Result<v1::Run> RunService::submit(const Caller& caller, const v1::SubmitRequest& request) {
  const std::string project = request.project().empty() ? "default" : request.project();
  auto snapshot = context_.store.snapshot();
  RETURN_IF_ERROR(context_.admit());
  ASSIGN_OR_RETURN(auto pipeline, require<v1::PipelineRecord>(*snapshot, keys::pipeline(project, request.pipeline()),
                                                              "pipeline " + request.pipeline()));
  RunRequest made_by;
  made_by.cause = "submitted by " + caller.name;
  made_by.idempotency_key = caller.key;
  made_by.commit = request.commit();
  Change change;
  change.reason = made_by.cause;
  ASSIGN_OR_RETURN(v1::Run run, add_run(*snapshot, context_, pipeline.value, made_by, &change));
  change.action = "create run " + run.id();
  CRASH_POINT("submit.run.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, run));
  CRASH_POINT("submit.run.after_commit");
  return run;
}

Result<v1::ListRunsResponse> RunService::list_runs(const std::string& project, const RunFilter& filter,
                                                   const PageRequest& page) {
  v1::Run::State state = v1::Run::STATE_UNSPECIFIED;
  if (!filter.state.empty() && !v1::Run::State_Parse(filter.state, &state)) {
    return invalid_argument("state '" + filter.state + "' is not one of QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED");
  }
  const std::string prefix = index_of(project, filter);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto references, list_references(*snapshot, prefix, page.token, size + 1, true));
  v1::ListRunsResponse response;
  response.set_next_page_token(cut_page(&references, size));
  for (const auto& reference : references) {
    ASSIGN_OR_RETURN(auto run, require<v1::Run>(*snapshot, reference.target, reference.target));
    *response.add_runs() = std::move(run.value);
  }
  return response;
}

Result<Record<v1::Run>> RunService::find(const Snapshot& snapshot, const std::string& project, const std::string& id) {
  ASSIGN_OR_RETURN(auto exact, get<v1::Run>(snapshot, keys::run(project, id)));
  if (exact) return std::move(*exact);
  if (id.size() >= kIdPrefixMin) {
    ASSIGN_OR_RETURN(auto matches, list<v1::Run>(snapshot, keys::runs(project) + id, "", 2));
    if (matches.size() == 1) return std::move(matches[0]);
    if (matches.size() > 1) return invalid_argument("run id " + id + " is ambiguous; give more digits");
  }
  return not_found("run " + id + " does not exist");
}

Result<v1::RunView> RunService::get_run(const std::string& project, const std::string& id) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto run, find(*snapshot, project, id));
  v1::RunView view;
  ASSIGN_OR_RETURN(auto attempts, list<v1::Attempt>(*snapshot, keys::attempts_of_run(project, run.value.id())));
  for (auto& attempt : attempts) *view.add_attempts() = std::move(attempt.value);
  ASSIGN_OR_RETURN(v1::MetricHistory latest, latest_metrics(*snapshot, run.value));
  for (const auto& sample : latest.samples()) {
    if (sample.name() == "total_steps") view.set_total_steps(static_cast<uint64_t>(sample.value()));
  }
  *view.mutable_latest() = latest.samples();
  if (!scheduler::is_final(run.value.state())) {
    ASSIGN_OR_RETURN(std::string reason, waiting_reason(context_, *snapshot, run.value));
    view.set_waiting_reason(reason);
  }
  *view.mutable_run() = std::move(run.value);
  return view;
}

Result<v1::Run> RunService::cancel(const Caller& caller, const std::string& project, const std::string& id,
                                   const std::string& reason) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto run, find(*snapshot, project, id));
  if (run.value.state() == v1::Run::CANCELLED) {
    RETURN_IF_ERROR(commit_answered(context_, {}, caller, run.value));
    return std::move(run.value);
  }
  if (scheduler::is_final(run.value.state())) {
    return conflict("run " + run.value.id() + " has already ended: " + v1::Run::State_Name(run.value.state()));
  }
  const Time now = context_.clock.now();
  const v1::Run before = run.value;
  for (auto& step : *run.value.mutable_steps()) {
    if (scheduler::is_final(step.state())) continue;
    step.set_state(v1::StepStatus::SKIPPED);
    step.set_finished_us(now.us);
  }
  run.value.set_state(v1::Run::CANCELLED);
  run.value.set_finished_us(now.us);
  run.value.set_message("cancelled by " + caller.name + (reason.empty() ? "" : ": " + reason));
  Change change;
  change.action = "cancel run " + run.value.id();
  change.reason = run.value.message();
  update_run(before, run, &change);
  add_run_finished(context_, &change, run.value);
  CRASH_POINT("cancel.run.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, run.value));
  CRASH_POINT("cancel.run.after_commit");
  return std::move(run.value);
}

Result<v1::RunMetricsResponse> RunService::metrics(const std::string& project, const std::string& id,
                                                   const std::string& name, const PageRequest& page) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto run, find(*snapshot, project, id));
  const std::string prefix = keys::metric_chunks(project, run.value.id());
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  ASSIGN_OR_RETURN(auto chunks, list<v1::MetricHistory>(*snapshot, prefix, page.token, size + 1));
  v1::RunMetricsResponse response;
  response.set_next_page_token(cut_page(&chunks, size));
  for (const auto& chunk : chunks) {
    for (const auto& sample : chunk.value.samples()) {
      if (name.empty() || sample.name() == name) *response.add_samples() = sample;
    }
  }
  return response;
}

Result<LogChunk> RunService::logs(const std::string& project, const std::string& id, const std::string& step,
                                  const std::string& stream, uint64_t offset) {
  if (stream != "stdout" && stream != "stderr") {
    return invalid_argument("stream '" + stream + "' is not one of stdout, stderr");
  }
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto run, find(*snapshot, project, id));
  ASSIGN_OR_RETURN(auto attempts, list<v1::Attempt>(*snapshot, keys::attempts_of_run(project, run.value.id())));
  const v1::Attempt* newest = nullptr;
  for (const auto& attempt : attempts) {
    if (!step.empty() && attempt.value.work().step() != step) continue;
    if (newest == nullptr || attempt.value.placed_us() >= newest->placed_us()) newest = &attempt.value;
  }
  LogChunk chunk;
  chunk.next_offset = offset;
  if (newest == nullptr) {
    if (!step.empty() && find_status(&run.value, step) == nullptr) {
      return not_found("run " + run.value.id() + " has no step " + step);
    }
    chunk.complete = scheduler::is_final(run.value.state());
    return chunk;
  }
  auto text = logs_.read(newest->gang_id(), stream, offset);
  if (!text.is_ok() && text.status().code() != Code::kNotFound) return text.status();
  if (text.is_ok()) chunk.text = std::move(*text);
  chunk.next_offset = offset + chunk.text.size();
  chunk.complete = chunk.text.empty() && scheduler::is_final(newest->state()) &&
                   (!step.empty() || scheduler::is_final(run.value.state()));
  return chunk;
}

Result<RunService::Event> RunService::event(const std::string& project, const std::string& id) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto run, find(*snapshot, project, id));
  ASSIGN_OR_RETURN(v1::MetricHistory latest, latest_metrics(*snapshot, run.value));
  Event result;
  *result.event.mutable_run() = std::move(run.value);
  *result.event.mutable_samples() = latest.samples();
  result.fingerprint = message_digest(result.event);
  return result;
}

}  // namespace freshet::control
