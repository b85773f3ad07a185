#include "daemon/control/system_service.h"

#include <charconv>
#include <map>

#include "base/sha256.h"
#include "daemon/control/work.h"
#include "daemon/store/audit.h"
#include "daemon/store/keys.h"

namespace freshet::control {
namespace {

// That one call looks at, so that a filter that fits little does not hold it up.
constexpr size_t kAuditRecordsMax = 10'000;

void add_view(const v1::AuditRecord& record, v1::AuditView* view) {
  view->set_revision(record.revision());
  view->set_commit_us(record.commit_us());
  view->set_actor(record.actor());
  view->set_action(record.action());
  view->set_reason(record.reason());
  for (const auto& changed : record.changes()) {
    view->add_keys(changed.key());
    auto* change = view->add_changes();
    change->set_key(changed.key());
    change->set_deleted(changed.deleted());
    change->set_replaced_revision(changed.replaced_revision());
  }
}

// "41:DIGEST,57:DIGEST".
Result<std::vector<v1::AuditHead>> parse_heads(std::string_view text, const std::string& name) {
  std::vector<v1::AuditHead> heads;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    uint64_t revision = 0;
    auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), revision);
    const std::string_view digest = one.substr(static_cast<size_t>(end - one.data()));
    if (error != std::errc() || !digest.starts_with(':') || !is_sha256_hex(digest.substr(1))) {
      return invalid_argument(name + " is REVISION:DIGEST, or several with commas between them; '" +
                              std::string(one.substr(0, 100)) + "' is not one");
    }
    heads.emplace_back().set_revision(revision);
    heads.back().set_digest(std::string(digest.substr(1)));
  }
  if (heads.size() > kAuditHeadsMax) {
    return invalid_argument(name + " holds " + std::to_string(heads.size()) + " heads; the most is " +
                            std::to_string(kAuditHeadsMax));
  }
  return heads;
}

}  // namespace

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

Result<v1::ListAuditResponse> SystemService::list_audit(const AuditFilter& filter, const PageRequest& page) {
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, keys::audits()));
  auto snapshot = context_.store.snapshot();
  v1::ListAuditResponse response;
  std::string after = page.token;
  // A record holds all that its change wrote: without a filter no more are read than are shown.
  const uint32_t read = filter.actor.empty() && filter.action.empty() ? size + 1 : kPageSizeMax;
  for (size_t looked_at = 0; looked_at < kAuditRecordsMax;) {
    ASSIGN_OR_RETURN(auto records, list<v1::AuditRecord>(*snapshot, keys::audits(), after, read, true));
    for (const auto& record : records) {
      if (record.value.commit_us() < filter.since_us) return response;
      if (response.records_size() == static_cast<int>(size)) {
        response.set_next_page_token(after);
        return response;
      }
      after = record.key;
      ++looked_at;
      if (!filter.actor.empty() && record.value.actor() != filter.actor) continue;
      if (!filter.action.empty() && record.value.action().find(filter.action) == std::string::npos) continue;
      add_view(record.value, response.add_records());
    }
    if (records.size() < read) return response;
  }
  response.set_next_page_token(after);
  return response;
}

Result<v1::AuditHead> SystemService::audit_head() { return freshet::audit_head(*context_.store.snapshot()); }

Result<v1::VerifyAuditResponse> SystemService::verify_audit(const std::string& heads, const PageRequest& page) {
  ASSIGN_OR_RETURN(uint32_t size, page_size({page.size, ""}, ""));
  ASSIGN_OR_RETURN(std::vector<v1::AuditHead> kept, parse_heads(heads, "heads"));
  AuditPosition from;
  if (!page.token.empty()) {
    ASSIGN_OR_RETURN(auto position, parse_heads(page.token, "page_token"));
    from = {position.front().revision(), position.front().digest()};
  }
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(AuditPage found, check_audit(*snapshot, from, size, kept));
  v1::VerifyAuditResponse response;
  response.set_checked(found.checked);
  response.set_revision(found.position.revision);
  response.set_newest_revision(snapshot->revision());
  if (found.problem) {
    *response.mutable_problem() = std::move(*found.problem);
  } else if (!found.is_done) {
    response.set_next_page_token(std::to_string(found.position.revision) + ":" + found.position.digest);
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
