// SystemService: the cluster's nodes, the audit log, sealed artifacts and the daemon itself. Called by API handlers,
// from any thread.
#pragma once

#include <string>

#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "proto/api.pb.h"
#include "proto/artifact.pb.h"

namespace freshet::control {

class SystemService {
 public:
  explicit SystemService(Context& context) : context_(context) {}

  Result<v1::ListNodesResponse> list_nodes();
  Result<v1::ListAuditResponse> list_audit(const PageRequest& page);
  Result<v1::VersionResponse> version();
  // Seals the artifact and records it; sealing twice is one seal.
  Result<v1::ArtifactRecord> seal_artifact(const std::string& actor, const std::string& digest,
                                           const std::string& manifest);

 private:
  Context& context_;
};

}  // namespace freshet::control
