// The registry as text: models, their versions, one version, and what a version was made from. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/render/table.h"
#include "proto/api.pb.h"

namespace freshet::cli {

std::string render_models(const v1::ListModelsResponse& models, const RenderOptions& options);
std::string render_versions(const v1::ListModelVersionsResponse& versions, const RenderOptions& options);
std::string render_version(const v1::ModelVersion& version, const std::vector<std::string>& aliases,
                           const RenderOptions& options);
// What an alias pointed to at a time, and the story of that move.
std::string render_alias_at(const v1::AliasAtResponse& answer, const RenderOptions& options);
std::string render_moves(const v1::ListAliasMovesResponse& moves, const RenderOptions& options);
// What garbage collection took, or would take (`is_plan`), and what stays where the answer says it.
std::string render_gc(const v1::GcResponse& answer, bool is_plan, const RenderOptions& options);
// "flights: champion is now version 3 (was 2)"
std::string render_move(const v1::Alias& alias);

// One version of a lineage with what it was made from; a version that was warm-started is followed by its parent.
struct LineageLink {
  v1::ModelVersion version;
  std::vector<std::string> aliases;
  std::optional<v1::Run> run;
  std::vector<v1::DatasetVersion> datasets;  // in the order of the version's inputs
};

std::string render_lineage(const std::vector<LineageLink>& links, const RenderOptions& options);

std::vector<std::string> aliases_of(const google::protobuf::RepeatedPtrField<v1::Alias>& aliases, uint64_t version);

// "engine 4f2a91c0, avx512, cpu, glibc 2.36".
std::string numerics_text(const v1::NumericsFingerprint& numerics);

}  // namespace freshet::cli
