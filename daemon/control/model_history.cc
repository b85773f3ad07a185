#include "daemon/control/model_history.h"

#include "base/parse_time.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet::control {
namespace {

constexpr size_t kPage = 100;

}  // namespace

v1::AliasMove committed_move(Record<v1::AliasMove> record) {
  record.value.set_revision(record.revision);
  record.value.set_committed_us(record.commit_time.us);
  return std::move(record.value);
}

Result<std::optional<Time>> moment_asked(const Snapshot& snapshot, const std::string& at, Time now) {
  if (at.empty()) return std::optional<Time>();
  ASSIGN_OR_RETURN(Time time, parse_time(at, now));
  ASSIGN_OR_RETURN(auto last, get<v1::LastCommit>(snapshot, keys::last_commit()));
  // Commits may be ahead of a wall clock that was set back.
  const Time newest{last ? last->value.commit_us() : 0};
  if (time > now && time > newest) {
    return invalid_argument("'" + at + "' lies in the future; it is " + to_iso8601(now) + " now (UTC)");
  }
  return std::optional<Time>(time);
}

Result<std::optional<AliasSpan>> alias_at(const Snapshot& snapshot, const std::string& project,
                                          const std::string& model, const std::string& alias, Time time) {
  const std::string prefix = keys::alias_moves(project, model, alias);
  AliasSpan span;
  std::string after;
  for (;;) {
    ASSIGN_OR_RETURN(auto moves, list<v1::AliasMove>(snapshot, prefix, after, kPage, true));
    for (auto& move : moves) {
      after = move.key;
      if (move.commit_time <= time) {
        span.move = committed_move(std::move(move));
        return std::optional<AliasSpan>(std::move(span));
      }
      span.next = committed_move(std::move(move));
    }
    if (moves.size() < kPage) return std::optional<AliasSpan>();
  }
}

Result<std::vector<v1::Alias>> aliases_at(const Snapshot& snapshot, const std::string& project,
                                          const std::string& model, Time time) {
  ASSIGN_OR_RETURN(auto known, list<v1::Alias>(snapshot, keys::aliases(project, model)));
  std::vector<v1::Alias> aliases;
  for (const auto& alias : known) {
    ASSIGN_OR_RETURN(auto span, alias_at(snapshot, project, model, alias.value.alias(), time));
    if (span) aliases.push_back(std::move(*span->move.mutable_alias()));
  }
  return aliases;
}

Result<uint64_t> latest_version_at(const Snapshot& snapshot, const std::string& project, const std::string& model,
                                   Time time) {
  const std::string prefix = keys::model_versions(project, model);
  std::string after;
  for (;;) {
    ASSIGN_OR_RETURN(auto versions, list<v1::ModelVersion>(snapshot, prefix, after, kPage, true));
    for (const auto& version : versions) {
      after = version.key;
      if (version.commit_time <= time) return version.value.version();
    }
    if (versions.size() < kPage) return uint64_t{0};
  }
}

}  // namespace freshet::control
