#include "daemon/control/artifact_use.h"

#include <algorithm>

#include "daemon/store/keys.h"

namespace freshet::control {

bool is_usable(const v1::ArtifactRecord& record) {
  return record.state() == v1::ArtifactRecord::PRESENT || record.state() == v1::ArtifactRecord::MARKED;
}

void unmark(v1::ArtifactRecord* record) {
  record->set_state(v1::ArtifactRecord::PRESENT);
  record->clear_collected_us();
  record->clear_collected_reason();
}

Result<std::optional<Record<v1::ArtifactRecord>>> artifact_record(const Snapshot& snapshot, const std::string& digest) {
  ASSIGN_OR_RETURN(auto record, get<v1::ArtifactRecord>(snapshot, keys::artifact(digest)));
  if (!record) return get<v1::ArtifactRecord>(snapshot, keys::collected_artifact(digest));
  return record;
}

Result<std::optional<Record<v1::ArtifactRecord>>> usable_artifact(const Snapshot& snapshot, const std::string& digest) {
  ASSIGN_OR_RETURN(auto record, get<v1::ArtifactRecord>(snapshot, keys::artifact(digest)));
  if (record && !is_usable(record->value)) record.reset();
  return record;
}

Status use_artifact(const Snapshot& snapshot, const std::string& digest, const std::string& by, Change* change) {
  ASSIGN_OR_RETURN(auto record, usable_artifact(snapshot, digest));
  if (!record) return missing_artifact(snapshot, digest);
  if (record->value.state() == v1::ArtifactRecord::MARKED) {
    unmark(&record->value);
    update(*change, *record);
  } else {
    expect(*change, *record);
  }
  v1::ArtifactUse use;
  use.set_by(by);
  put(*change, keys::artifact_use(digest), use);
  return Status::ok();
}

Status use_artifact_if_there(const Snapshot& snapshot, const std::string& digest, const std::string& by,
                             Change* change) {
  if (digest.empty()) return Status::ok();
  Status used = use_artifact(snapshot, digest, by, change);
  return used.code() == Code::kNotFound ? Status::ok() : used;
}

std::vector<std::string> artifacts_of(const v1::AttemptSpec& spec) {
  std::vector<std::string> digests = {spec.train().warm_start().digest(), spec.evaluate().candidate().digest(),
                                      spec.evaluate().champion().digest(), spec.inspect().champion().digest()};
  digests.push_back(spec.replay().train().warm_start().digest());
  digests.push_back(spec.replay().model().digest());
  for (const auto& input : spec.command().inputs()) digests.push_back(input.digest());
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  std::erase(digests, "");
  return digests;
}

Status missing_artifact(const Snapshot& snapshot, const std::string& digest) {
  ASSIGN_OR_RETURN(auto record, artifact_record(snapshot, digest));
  if (!record) return not_found("artifact " + digest + " does not exist");
  return not_found("artifact " + digest + " was collected at " + to_iso8601(Time{record->value.collected_us()}) + ": " +
                   record->value.collected_reason());
}

}  // namespace freshet::control
