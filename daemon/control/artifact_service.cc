#include "daemon/control/artifact_service.h"

#include "base/crash_point.h"
#include "daemon/control/artifact_use.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"

namespace freshet::control {
namespace {

Status being_collected(const std::string& digest) {
  return unavailable("artifact " + digest + " is being collected; send it again");
}

}  // namespace

Result<std::unique_ptr<ArtifactWriter>> ArtifactService::begin_file(const std::string& sha256,
                                                                    std::optional<uint64_t> size) {
  if (context_.artifacts.touch_file(sha256)) return std::unique_ptr<ArtifactWriter>();
  RETURN_IF_ERROR(context_.admit(size.value_or(0)));
  return context_.artifacts.put_file(sha256, size);
}

Result<v1::ArtifactRecord> ArtifactService::seal(const std::string& actor, const std::string& digest,
                                                 const std::string& manifest) {
  const std::string key = keys::artifact(digest);
  const std::string collected_key = keys::collected_artifact(digest);
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto known, get<v1::ArtifactRecord>(*snapshot, key));
  if (known) return sealed_again(actor, std::move(*known));
  ASSIGN_OR_RETURN(auto collected, get<v1::ArtifactRecord>(*snapshot, collected_key));
  CRASH_POINT("artifact.seal.before_files");
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, context_.artifacts.seal(digest, manifest));
  v1::ArtifactRecord record;
  record.set_digest(digest);
  *record.mutable_manifest() = std::move(parsed);
  record.set_sealed_us(context_.clock.now().us);
  Change change;
  change.actor = actor;
  change.action = "seal artifact " + digest;
  change.reason = "uploaded, " + std::to_string(record.manifest().files_size()) + " files";
  create(change, key, record);
  // Had it been collected since the files were looked at, they might be gone; and if it was before, it is here again.
  expect(change, collected_key, collected ? collected->revision : 0);
  if (collected) erase(change, collected_key);
  CRASH_POINT("artifact.seal.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("artifact.seal.after_commit");
  if (committed.is_ok()) return record;
  if (committed.status().code() != Code::kConflict) return committed.status();
  // Somebody sealed the same bytes at the same time, which is what was asked for, or is collecting them.
  ASSIGN_OR_RETURN(known, usable_artifact(*context_.store.snapshot(), digest));
  if (!known) return being_collected(digest);
  return std::move(known->value);
}

// Its bytes are here, unless they are being removed; a mark is taken back, as by anybody who needs the artifact.
Result<v1::ArtifactRecord> ArtifactService::sealed_again(const std::string& actor, Record<v1::ArtifactRecord> known) {
  const std::string& digest = known.value.digest();
  if (!is_usable(known.value)) return being_collected(digest);
  if (known.value.state() == v1::ArtifactRecord::PRESENT) return std::move(known.value);
  unmark(&known.value);
  known.value.set_sealed_us(context_.clock.now().us);
  Change change;
  change.actor = actor;
  change.action = "seal artifact " + digest;
  change.reason = "uploaded again, " + std::to_string(known.value.manifest().files_size()) + " files";
  update(change, known);
  auto committed = context_.commit(std::move(change));
  if (committed.status().code() == Code::kConflict) return being_collected(digest);
  RETURN_IF_ERROR(committed.status());
  return std::move(known.value);
}

Status ArtifactService::check_usable(const std::string& digest) const {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto record, usable_artifact(*snapshot, digest));
  return record ? Status::ok() : missing_artifact(*snapshot, digest);
}

Result<std::string> ArtifactService::manifest(const std::string& digest) const {
  RETURN_IF_ERROR(check_usable(digest));
  return context_.artifacts.manifest(digest);
}

Result<std::optional<std::filesystem::path>> ArtifactService::path(const std::string& digest,
                                                                   const std::string& name) const {
  RETURN_IF_ERROR(check_usable(digest));
  return context_.artifacts.path(digest, name);
}

Result<std::string> ArtifactService::read(const std::string& digest, const std::string& name) const {
  RETURN_IF_ERROR(check_usable(digest));
  return context_.artifacts.read(digest, name);
}

}  // namespace freshet::control
