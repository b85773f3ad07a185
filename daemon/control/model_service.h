// ModelService: the registry as people see it, now and at any time before (`at`, see parse_time; empty: now), and the
// moves of aliases that a person makes. Called by API handlers, from any thread.
#pragma once

#include <string>

#include "daemon/control/answers.h"
#include "daemon/control/context.h"
#include "daemon/control/paging.h"
#include "daemon/store/tables.h"
#include "proto/api.pb.h"

namespace freshet::control {

class ModelService {
 public:
  explicit ModelService(Context& context) : context_(context) {}

  Result<v1::ListModelsResponse> list_models(const std::string& project, const std::string& at,
                                             const PageRequest& page);
  Result<v1::ListModelVersionsResponse> list_versions(const std::string& project, const std::string& model,
                                                      const std::string& at, const PageRequest& page);
  Result<v1::ModelVersion> get_version(const std::string& project, const std::string& model, uint64_t version);
  // What the alias pointed to, who moved it there, why, and what it replaced.
  Result<v1::AliasAtResponse> get_alias(const std::string& project, const std::string& model, const std::string& alias,
                                        const std::string& at);
  Result<v1::ListAliasMovesResponse> list_moves(const std::string& project, const std::string& model,
                                                const std::string& alias, const PageRequest& page);
  // Refuses (conflict) a version whose verdict did not pass, unless the request overrides the gates.
  Result<v1::Alias> promote(const Caller& caller, const std::string& project, const std::string& model,
                            const v1::PromoteRequest& request);
  // Back to where the alias pointed before its last move to another version.
  Result<v1::Alias> rollback(const Caller& caller, const std::string& project, const std::string& model,
                             const v1::RollbackRequest& request);
  // A run that trains the version again; see replay.h.
  Result<v1::Run> replay(const Caller& caller, const std::string& project, const std::string& model, uint64_t version,
                         const v1::ReplayRequest& request);

 private:
  Result<v1::Alias> commit_move(const Caller& caller, const Snapshot& snapshot,
                                const std::optional<Record<v1::Alias>>& current, v1::Alias next,
                                const std::string& action);

  Context& context_;
};

}  // namespace freshet::control
