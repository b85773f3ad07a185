#include "daemon/control/artifact_service.h"

#include "base/crash_point.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"

namespace freshet::control {

Result<std::unique_ptr<ArtifactWriter>> ArtifactService::begin_file(const std::string& sha256,
                                                                    std::optional<uint64_t> size) {
  if (context_.artifacts.has_file(sha256)) return std::unique_ptr<ArtifactWriter>();
  RETURN_IF_ERROR(context_.admit(size.value_or(0)));
  return context_.artifacts.put_file(sha256, size);
}

Result<v1::ArtifactRecord> ArtifactService::seal(const std::string& actor, const std::string& digest,
                                                 const std::string& manifest) {
  const std::string key = keys::artifact(digest);
  ASSIGN_OR_RETURN(auto known, get<v1::ArtifactRecord>(*context_.store.snapshot(), key));
  if (known) return std::move(known->value);
  CRASH_POINT("artifact.seal.before_files");
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, context_.artifacts.seal(digest, manifest));
  v1::ArtifactRecord record;
  record.set_digest(digest);
  *record.mutable_manifest() = std::move(parsed);
  record.set_sealed_us(context_.clock.now().us);
  Change change;
  change.actor = actor;
  change.action = "seal artifact " + digest;
  create(change, key, record);
  CRASH_POINT("artifact.seal.before_commit");
  auto committed = context_.commit(std::move(change));
  CRASH_POINT("artifact.seal.after_commit");
  // Somebody sealed the same bytes at the same time: that is what was asked for.
  if (!committed.is_ok() && committed.status().code() != Code::kConflict) return committed.status();
  return record;
}

Result<std::string> ArtifactService::manifest(const std::string& digest) const {
  RETURN_IF_ERROR(
      require<v1::ArtifactRecord>(*context_.store.snapshot(), keys::artifact(digest), "artifact " + digest).status());
  return context_.artifacts.manifest(digest);
}

}  // namespace freshet::control
