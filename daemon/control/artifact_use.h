// References to artifacts, made so that none can be lost to the garbage collector. A commit that makes a record refer
// to an artifact goes through use_artifact(): it holds only while the bytes are there, takes a collector's mark back,
// and rewrites the artifact's use; the collector's own commits depend on all three. So of a reference and a collection
// that meet, whichever is second is refused as a conflict. Adds to the change, commits nothing; any thread.
#pragma once

#include <string>
#include <vector>

#include "daemon/store/tables.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"

namespace freshet::control {

// Whether its bytes are there and stay, if somebody refers to it: also while it is only marked for collection.
bool is_usable(const v1::ArtifactRecord& record);
// Takes the mark back.
void unmark(v1::ArtifactRecord* record);
// The artifact's record, also when its bytes were collected; nullopt: there has never been one.
Result<std::optional<Record<v1::ArtifactRecord>>> artifact_record(const Snapshot& snapshot, const std::string& digest);
// The artifact's record while it can be used; nullopt when it is not there, is being removed or was.
Result<std::optional<Record<v1::ArtifactRecord>>> usable_artifact(const Snapshot& snapshot, const std::string& digest);

// `by` says who refers to it ("run 4f.."). kNotFound, saying when and why, for an artifact that was collected.
Status use_artifact(const Snapshot& snapshot, const std::string& digest, const std::string& by, Change* change);
// Nothing when `digest` is empty or the artifact is not there any more: for what is good to have.
Status use_artifact_if_there(const Snapshot& snapshot, const std::string& digest, const std::string& by,
                             Change* change);

// The artifacts that the attempt's ranks need.
std::vector<std::string> artifacts_of(const v1::AttemptSpec& spec);

// "artifact 4f.. was collected at 2026-..: reason"; or that it does not exist.
Status missing_artifact(const Snapshot& snapshot, const std::string& digest);

}  // namespace freshet::control
