#include "daemon/control/system_service.h"

#include <map>

#include "daemon/control/work.h"
#include "daemon/store/keys.h"

namespace freshet::control {

Result<v1::ListNodesResponse> SystemService::list_nodes() {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto nodes, list<v1::NodeRecord>(*snapshot, keys::nodes()));
  ASSIGN_OR_RETURN(auto attempts, active_attempts(*snapshot));
  v1::ListNodesResponse response;
  for (auto& node : nodes) {
    auto* view = response.add_nodes();
    for (const auto& attempt : attempts) {
      if (attempt.value.node() != node.value.name()) continue;
      view->set_slots_used(view->slots_used() + attempt.value.slots());
      view->add_gangs(attempt.value.gang_id());
    }
    *view->mutable_node() = std::move(node.value);
  }
  return response;
}

Result<v1::ListAuditResponse> SystemService::list_audit(const PageRequest& page) {
  const std::string prefix = keys::audits();
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  ASSIGN_OR_RETURN(auto records,
                   list<v1::AuditRecord>(*context_.store.snapshot(), prefix, page.token, size + 1, true));
  v1::ListAuditResponse response;
  response.set_next_page_token(cut_page(&records, size));
  for (const auto& record : records) {
    auto* view = response.add_records();
    view->set_revision(record.value.revision());
    view->set_commit_us(record.value.commit_us());
    view->set_actor(record.value.actor());
    view->set_action(record.value.action());
    view->set_reason(record.value.reason());
    for (const auto& changed : record.value.changes()) view->add_keys(changed.key());
  }
  return response;
}

Result<v1::VersionResponse> SystemService::version() {
  v1::VersionResponse response;
  response.set_version(context_.version);
  response.set_term(context_.term);
  response.set_revision(context_.store.snapshot()->revision());
  return response;
}

Result<v1::ArtifactRecord> SystemService::seal_artifact(const std::string& actor, const std::string& digest,
                                                        const std::string& manifest) {
  const std::string key = keys::artifact(digest);
  ASSIGN_OR_RETURN(auto known, get<v1::ArtifactRecord>(*context_.store.snapshot(), key));
  if (known) return std::move(known->value);
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, context_.artifacts.seal(digest, manifest));
  v1::ArtifactRecord record;
  record.set_digest(digest);
  *record.mutable_manifest() = std::move(parsed);
  record.set_sealed_us(context_.clock.now().us);
  Change change;
  change.actor = actor;
  change.action = "seal artifact " + digest;
  create(change, key, record);
  auto committed = context_.store.commit(std::move(change));
  // Somebody sealed the same bytes at the same time: that is what was asked for.
  if (!committed.is_ok() && committed.status().code() != Code::kConflict) return committed.status();
  context_.wake();
  return record;
}

}  // namespace freshet::control
