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
  ASSIGN_OR_RETURN(auto records, list<v1::AuditRecord>(*context_.store.snapshot(), prefix, page.token, size + 1, true));
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

}  // namespace freshet::control
