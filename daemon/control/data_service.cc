#include "daemon/control/data_service.h"

#include <set>

#include "base/crash_point.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"

namespace freshet::control {

Status DataService::check_input(const Snapshot& snapshot, const std::string& project, const std::string& pipeline,
                                const std::string& input) {
  ASSIGN_OR_RETURN(auto record,
                   require<v1::PipelineRecord>(snapshot, keys::pipeline(project, pipeline), "pipeline " + pipeline));
  if (find_input(record.value.pipeline().spec(), input) != nullptr) return Status::ok();
  return not_found("pipeline " + pipeline + " has no input " + input);
}

Result<v1::ListEntriesResponse> DataService::list_entries(const std::string& project, const std::string& pipeline,
                                                          const std::string& input, const std::string& state,
                                                          const PageRequest& page) {
  v1::EntryRecord::State wanted = v1::EntryRecord::STATE_UNSPECIFIED;
  if (!state.empty() && !v1::EntryRecord::State_Parse(state, &wanted)) {
    return invalid_argument("state '" + state + "' is not one of ARRIVED, ACCEPTED, QUARANTINED, DISCARDED, GONE");
  }
  const std::string prefix = keys::entries(project, pipeline, input);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  RETURN_IF_ERROR(check_input(*snapshot, project, pipeline, input));
  v1::ListEntriesResponse response;
  std::string after = page.token;
  for (;;) {
    ASSIGN_OR_RETURN(auto records, list<v1::EntryRecord>(*snapshot, prefix, after, size));
    for (auto& record : records) {
      after = record.key;
      if (wanted != v1::EntryRecord::STATE_UNSPECIFIED && record.value.state() != wanted) continue;
      *response.add_entries() = std::move(record.value);
      if (static_cast<uint32_t>(response.entries_size()) < size) continue;
      response.set_next_page_token(after);
      return response;
    }
    if (records.size() < size) return response;
  }
}

Result<v1::ListEntriesResponse> DataService::decide(const Caller& caller, const std::string& project,
                                                    const std::string& pipeline, const std::string& input,
                                                    const v1::DecideEntriesRequest& request) {
  if (request.decision() == v1::DecideEntriesRequest::DECISION_UNSPECIFIED) {
    return invalid_argument("decision must be RELEASE or DISCARD");
  }
  if (request.reason().empty()) return invalid_argument("the decision needs a reason (--reason)");
  const bool release = request.decision() == v1::DecideEntriesRequest::RELEASE;
  auto snapshot = context_.store.snapshot();
  RETURN_IF_ERROR(check_input(*snapshot, project, pipeline, input));
  ASSIGN_OR_RETURN(auto records, list<v1::EntryRecord>(*snapshot, keys::entries(project, pipeline, input)));
  std::set<std::string> missing(request.uris().begin(), request.uris().end());
  const bool all = missing.empty();
  const int64_t now_us = context_.clock.now().us;
  Change change;
  change.action = release ? "release data" : "discard data";
  change.reason = request.reason();
  v1::ListEntriesResponse response;
  for (auto& record : records) {
    v1::EntryRecord& entry = record.value;
    if (entry.state() != v1::EntryRecord::QUARANTINED) continue;
    if (missing.erase(entry.entry().uri()) == 0 && !all) continue;
    if (release && entry.profile().rows() == 0) {
      return conflict(entry.entry().uri() + " can't be released: " + entry.reason());
    }
    entry.set_state(release ? v1::EntryRecord::ACCEPTED : v1::EntryRecord::DISCARDED);
    entry.set_reason((release ? "released by " : "discarded by ") + caller.name + ": " + request.reason() +
                     " (was: " + entry.reason() + ")");
    entry.set_decided_us(now_us);
    update(change, record);
    *response.add_entries() = entry;
  }
  if (!missing.empty()) {
    return not_found("no quarantined entry " + *missing.begin() + " in input " + input + " of pipeline " + pipeline);
  }
  CRASH_POINT("data.decision.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, response));
  CRASH_POINT("data.decision.after_commit");
  return response;
}

Result<v1::DatasetVersion> DataService::get_dataset(const std::string& project, const std::string& digest) {
  ASSIGN_OR_RETURN(auto record, require<v1::DatasetVersion>(*context_.store.snapshot(), keys::dataset(project, digest),
                                                            "dataset " + digest));
  return std::move(record.value);
}

}  // namespace freshet::control
