// Documents, sources, triggers, data, nodes and the audit log as text. Pure; any thread.
#pragma once

#include <string>

#include "cli/render/table.h"
#include "proto/api.pb.h"

namespace freshet::cli {

// `dry_run`: what apply would do.
std::string render_applied(const v1::ApplyResponse& response, bool dry_run, const RenderOptions& options);
std::string render_pipelines(const v1::ListPipelinesResponse& pipelines, const RenderOptions& options);
std::string render_sources(const v1::ListSourcesResponse& sources, const RenderOptions& options);
std::string render_triggers(const v1::ListTriggersResponse& triggers, const RenderOptions& options);
std::string render_entries(const v1::ListEntriesResponse& entries, const RenderOptions& options);
std::string render_nodes(const v1::ListNodesResponse& nodes, const RenderOptions& options);
std::string render_audit(const v1::ListAuditResponse& audit, const RenderOptions& options);
// `heads`: how many were compared.
std::string render_verified(const v1::VerifyAuditResponse& verified, size_t heads);

}  // namespace freshet::cli
