#include "daemon/control/model_service.h"

#include <algorithm>

#include "base/crash_point.h"
#include "daemon/control/artifact_use.h"
#include "daemon/control/model_history.h"
#include "daemon/control/promotion.h"
#include "daemon/control/replay.h"
#include "daemon/control/work.h"
#include "daemon/store/keys.h"

namespace freshet::control {
namespace {

constexpr char kChampion[] = "champion";

template <class Response>
Status add_aliases(const Snapshot& snapshot, const std::string& project, const std::string& model,
                   const std::optional<Time>& at, Response* response) {
  if (at) {
    ASSIGN_OR_RETURN(auto aliases, aliases_at(snapshot, project, model, *at));
    for (auto& alias : aliases) *response->add_aliases() = std::move(alias);
    return Status::ok();
  }
  ASSIGN_OR_RETURN(auto aliases, list<v1::Alias>(snapshot, keys::aliases(project, model)));
  for (auto& alias : aliases) *response->add_aliases() = std::move(alias.value);
  return Status::ok();
}

// A version whose artifact was collected can be looked at, but not be used any more.
Status use_version(const Snapshot& snapshot, const v1::Alias& next, Change* change) {
  const std::string name = version_name(next.model(), next.version());
  const std::string by = "alias " + next.alias() + " at " + name;
  ASSIGN_OR_RETURN(auto version, require<v1::ModelVersion>(
                                     snapshot, keys::model_version(next.project(), next.model(), next.version()),
                                     "model version " + name));
  Status used = use_artifact(snapshot, version.value.artifact_digest(), by, change);
  if (used.code() == Code::kNotFound) return conflict("version " + name + " can't be promoted: " + used.message());
  RETURN_IF_ERROR(used);
  if (version.value.warm_start_version().empty()) return Status::ok();
  ASSIGN_OR_RETURN(VersionName start, parse_version_name(version.value.warm_start_version()));
  ASSIGN_OR_RETURN(auto parent,
                   get<v1::ModelVersion>(snapshot, keys::model_version(next.project(), start.model, start.version)));
  if (!parent) return Status::ok();
  return use_artifact_if_there(snapshot, parent->value.artifact_digest(), by, change);
}

// Says in the answer that the version's artifact is gone, where it is.
Status add_collection(const Snapshot& snapshot, v1::ModelVersion* version) {
  ASSIGN_OR_RETURN(auto record, artifact_record(snapshot, version->artifact_digest()));
  if (!record || is_usable(record->value)) return Status::ok();
  version->set_artifact_collected_us(record->value.collected_us());
  version->set_artifact_collected_reason(record->value.collected_reason());
  return Status::ok();
}

}  // namespace

Result<v1::ListModelsResponse> ModelService::list_models(const std::string& project, const std::string& at,
                                                         const PageRequest& page) {
  const std::string prefix = keys::models(project);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto time, moment_asked(*snapshot, at, context_.clock.now()));
  ASSIGN_OR_RETURN(auto models, list<v1::Model>(*snapshot, prefix, page.token, size + 1));
  v1::ListModelsResponse response;
  if (time) response.set_at_us(time->us);
  response.set_next_page_token(cut_page(&models, size));
  for (auto& model : models) {
    if (time) {
      ASSIGN_OR_RETURN(uint64_t latest, latest_version_at(*snapshot, project, model.value.name(), *time));
      if (latest == 0) continue;  // a model begins with its first version
      model.value.set_latest_version(latest);
    }
    auto* view = response.add_models();
    RETURN_IF_ERROR(add_aliases(*snapshot, project, model.value.name(), time, view));
    *view->mutable_model() = std::move(model.value);
  }
  return response;
}

Result<v1::ListModelVersionsResponse> ModelService::list_versions(const std::string& project, const std::string& model,
                                                                  const std::string& at, const PageRequest& page) {
  const std::string prefix = keys::model_versions(project, model);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto time, moment_asked(*snapshot, at, context_.clock.now()));
  RETURN_IF_ERROR(require<v1::Model>(*snapshot, keys::model(project, model), "model " + model).status());
  std::string after = page.token;
  if (time && after.empty()) {
    // Newest first: the listing begins behind what did not exist yet.
    ASSIGN_OR_RETURN(uint64_t latest, latest_version_at(*snapshot, project, model, *time));
    after = keys::model_version(project, model, latest + 1);
  }
  ASSIGN_OR_RETURN(auto versions, list<v1::ModelVersion>(*snapshot, prefix, after, size + 1, true));
  v1::ListModelVersionsResponse response;
  if (time) response.set_at_us(time->us);
  response.set_next_page_token(cut_page(&versions, size));
  for (auto& version : versions) {
    RETURN_IF_ERROR(add_collection(*snapshot, &version.value));
    *response.add_versions() = std::move(version.value);
  }
  RETURN_IF_ERROR(add_aliases(*snapshot, project, model, time, &response));
  return response;
}

Result<v1::ModelVersion> ModelService::get_version(const std::string& project, const std::string& model,
                                                   uint64_t version) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto record, require<v1::ModelVersion>(*snapshot, keys::model_version(project, model, version),
                                                          "model version " + version_name(model, version)));
  RETURN_IF_ERROR(add_collection(*snapshot, &record.value));
  return std::move(record.value);
}

Result<v1::AliasAtResponse> ModelService::get_alias(const std::string& project, const std::string& model,
                                                    const std::string& alias, const std::string& at) {
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto time, moment_asked(*snapshot, at, context_.clock.now()));
  RETURN_IF_ERROR(require<v1::Model>(*snapshot, keys::model(project, model), "model " + model).status());
  ASSIGN_OR_RETURN(auto span, alias_at(*snapshot, project, model, alias, time.value_or(Time::never())));
  if (!span) {
    return not_found("model " + model + " had no alias " + alias + (time ? " at " + to_iso8601(*time) : ""));
  }
  v1::AliasAtResponse response;
  response.set_at_us(time.value_or(context_.clock.now()).us);
  ASSIGN_OR_RETURN(auto version, get_version(project, model, span->move.alias().version()));
  *response.mutable_version() = std::move(version);
  *response.mutable_move() = std::move(span->move);
  if (span->next) *response.mutable_next() = std::move(*span->next);
  return response;
}

Result<v1::ListAliasMovesResponse> ModelService::list_moves(const std::string& project, const std::string& model,
                                                            const std::string& alias, const PageRequest& page) {
  const std::string prefix =
      alias.empty() ? keys::alias_moves(project, model) : keys::alias_moves(project, model, alias);
  ASSIGN_OR_RETURN(uint32_t size, page_size(page, prefix));
  auto snapshot = context_.store.snapshot();
  RETURN_IF_ERROR(require<v1::Model>(*snapshot, keys::model(project, model), "model " + model).status());
  std::vector<Record<v1::AliasMove>> moves;
  if (!alias.empty()) {
    ASSIGN_OR_RETURN(moves, list<v1::AliasMove>(*snapshot, prefix, page.token, size + 1, true));
  } else {
    // They lie alias by alias; people want them in the order in which they happened.
    ASSIGN_OR_RETURN(moves, list<v1::AliasMove>(*snapshot, prefix));
    std::sort(moves.begin(), moves.end(), [](const auto& a, const auto& b) { return a.revision > b.revision; });
    auto after = std::find_if(moves.begin(), moves.end(), [&](const auto& move) { return move.key == page.token; });
    if (after != moves.end()) moves.erase(moves.begin(), after + 1);
  }
  v1::ListAliasMovesResponse response;
  response.set_next_page_token(cut_page(&moves, size));
  for (auto& move : moves) *response.add_moves() = committed_move(std::move(move));
  return response;
}

Result<v1::Alias> ModelService::commit_move(const Caller& caller, const Snapshot& snapshot,
                                            const std::optional<Record<v1::Alias>>& current, v1::Alias next,
                                            const std::string& action) {
  next.set_moved_us(context_.clock.now().us);
  Change change;
  RETURN_IF_ERROR(use_version(snapshot, next, &change));
  change.action = action + " " + version_name(next.model(), next.version()) + " as " + next.alias();
  change.reason = next.reason();
  next.set_previous_version(current ? current->value.version() : 0);
  ASSIGN_OR_RETURN(auto version,
                   get<v1::ModelVersion>(snapshot, keys::model_version(next.project(), next.model(), next.version())));
  move_alias(snapshot, context_, current, next, version ? version->value.pipeline() : "", &change);
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, next));
  return next;
}

Result<v1::Alias> ModelService::promote(const Caller& caller, const std::string& project, const std::string& model,
                                        const v1::PromoteRequest& request) {
  const std::string alias = request.alias().empty() ? kChampion : request.alias();
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto version,
                   require<v1::ModelVersion>(*snapshot, keys::model_version(project, model, request.version()),
                                             "model version " + version_name(model, request.version())));
  ASSIGN_OR_RETURN(auto current, get<v1::Alias>(*snapshot, keys::alias(project, model, alias)));
  const uint64_t current_version = current ? current->value.version() : 0;
  if (request.expected_current_version() != 0 && request.expected_current_version() != current_version) {
    return conflict("alias " + alias + " of model " + model + " is at version " + std::to_string(current_version) +
                    ", not at " + std::to_string(request.expected_current_version()));
  }
  if (!version.value.verdict().passed() && !request.override_gates()) {
    return conflict("version " + version_name(model, request.version()) +
                    " did not pass its gates; override_gates (--override-gates) promotes it all the same, with the " +
                    "reason in the audit log");
  }
  if (request.reason().empty()) return invalid_argument("a promotion by a person needs a reason (--reason)");
  if (current_version == request.version()) {
    RETURN_IF_ERROR(commit_answered(context_, {}, caller, current->value));
    return std::move(current->value);
  }
  v1::Alias next;
  next.set_project(project);
  next.set_model(model);
  next.set_alias(alias);
  next.set_version(request.version());
  next.set_actor(caller.name);
  next.set_reason(request.reason());
  CRASH_POINT("promote.alias.before_commit");
  auto moved = commit_move(caller, *snapshot, current, next,
                           version.value.verdict().passed() ? "promote" : "promote against the gates");
  CRASH_POINT("promote.alias.after_commit");
  return moved;
}

Result<v1::Alias> ModelService::rollback(const Caller& caller, const std::string& project, const std::string& model,
                                         const v1::RollbackRequest& request) {
  const std::string alias = request.alias().empty() ? kChampion : request.alias();
  if (request.reason().empty()) return invalid_argument("a rollback needs a reason (--reason)");
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(auto current, require<v1::Alias>(*snapshot, keys::alias(project, model, alias),
                                                    "alias " + alias + " of model " + model));
  if (current.value.previous_version() == 0) {
    return conflict("alias " + alias + " of model " + model + " has never pointed to another version");
  }
  v1::Alias next = current.value;
  next.set_version(current.value.previous_version());
  next.set_actor(caller.name);
  next.set_reason(request.reason());
  CRASH_POINT("rollback.alias.before_commit");
  auto moved = commit_move(caller, *snapshot, current, next, "roll back to");
  CRASH_POINT("rollback.alias.after_commit");
  return moved;
}

Result<v1::Run> ModelService::replay(const Caller& caller, const std::string& project, const std::string& model,
                                     uint64_t version, const v1::ReplayRequest& request) {
  RETURN_IF_ERROR(context_.admit());
  const std::string name = version_name(model, version);
  RunRequest made_by;
  made_by.cause =
      "replay of " + name + " asked for by " + caller.name + (request.reason().empty() ? "" : ": " + request.reason());
  made_by.idempotency_key = caller.key;
  Change change;
  change.reason = made_by.cause;
  auto snapshot = context_.store.snapshot();
  ASSIGN_OR_RETURN(v1::Run run, add_replay_run(*snapshot, context_, project, name, made_by, &change));
  change.action = "create run " + run.id();
  CRASH_POINT("replay.run.before_commit");
  RETURN_IF_ERROR(commit_answered(context_, std::move(change), caller, run));
  CRASH_POINT("replay.run.after_commit");
  return run;
}

}  // namespace freshet::control
