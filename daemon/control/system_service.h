// SystemService: the cluster's nodes, the audit log and the daemon itself. Called by API handlers,
// from any thread.
#pragma once

#include <string>

#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "proto/api.pb.h"

namespace freshet::control {

// Empty or 0: any.
struct AuditFilter {
  std::string actor;
  std::string action;
  int64_t since_us = 0;
};

inline constexpr size_t kAuditHeadsMax = 64;

class SystemService {
 public:
  explicit SystemService(Context& context) : context_(context) {}

  Result<v1::ListNodesResponse> list_nodes();
  // Newest first. A page of a filtered listing may be short, even empty, and yet have a token.
  Result<v1::ListAuditResponse> list_audit(const AuditFilter& filter, const PageRequest& page);
  Result<v1::AuditHead> audit_head();
  // `heads` as "REVISION:DIGEST,...", at most kAuditHeadsMax of them.
  Result<v1::VerifyAuditResponse> verify_audit(const std::string& heads, const PageRequest& page);
  Result<v1::VersionResponse> version();

 private:
  Context& context_;
};

}  // namespace freshet::control
