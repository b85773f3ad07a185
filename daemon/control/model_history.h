// The registry at a time in the past, read from the moves of aliases, which are never deleted. "At T" goes by the time
// of the commits, which never goes back, so each time has one answer whatever the wall clock did. Reads a snapshot;
// any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "daemon/store/tables.h"
#include "proto/model.pb.h"

namespace freshet::control {

// The time that `at` says (see parse_time), counted back from `now` where it is relative; nullopt when `at` is empty.
// kInvalidArgument when it lies in the future: what was asked for could still become something else.
Result<std::optional<Time>> moment_asked(const Snapshot& snapshot, const std::string& at, Time now);

// The move with the revision and the time of its commit.
v1::AliasMove committed_move(Record<v1::AliasMove> record);

// The move that was in force at `time`, and the one that ended it.
struct AliasSpan {
  v1::AliasMove move;
  std::optional<v1::AliasMove> next;
};
// nullopt: the alias did not exist yet.
Result<std::optional<AliasSpan>> alias_at(const Snapshot& snapshot, const std::string& project,
                                          const std::string& model, const std::string& alias, Time time);
// Every alias that the model had at `time`, as it was.
Result<std::vector<v1::Alias>> aliases_at(const Snapshot& snapshot, const std::string& project,
                                          const std::string& model, Time time);
// The newest version that was registered at `time`; 0: none.
Result<uint64_t> latest_version_at(const Snapshot& snapshot, const std::string& project, const std::string& model,
                                   Time time);

}  // namespace freshet::control
