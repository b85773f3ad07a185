// SystemService: the cluster's nodes, the audit log and the daemon itself. Called by API handlers,
// from any thread.
#pragma once

#include <string>

#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "proto/api.pb.h"

namespace freshet::control {

class SystemService {
 public:
  explicit SystemService(Context& context) : context_(context) {}

  Result<v1::ListNodesResponse> list_nodes();
  Result<v1::ListAuditResponse> list_audit(const PageRequest& page);
  Result<v1::VersionResponse> version();

 private:
  Context& context_;
};

}  // namespace freshet::control
