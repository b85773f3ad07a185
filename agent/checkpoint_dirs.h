// Where train steps save themselves on this node: one directory for each piece of work, AGENT_DIR/checkpoints/RUN.STEP,
// outside of the gangs' directories because another attempt goes on from it. It goes away with a gang that succeeded;
// what others leave stays for a day, and of few pieces of work, for the attempts that may follow. Blocking; any thread,
// one at a time for each piece of work. It does not know what is in the directories. Steps that want checkpoints in the
// node's memory have a second directory each, in a tmpfs; it lives as the first does, but left behind only for an hour.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "base/status.h"
#include "base/time.h"
#include "proto/attempt.pb.h"

namespace freshet::agent {

std::filesystem::path checkpoint_dir(const std::filesystem::path& agent_dir, const v1::WorkRef& work);

// Makes the directory in memory and the one above it, which only this user can read: below /dev/shm, told from other
// agents' by a digest of `agent_dir`. unavailable when there is no tmpfs; conflict when its name is somebody else's.
Result<std::filesystem::path> make_checkpoint_memory_dir(const std::filesystem::path& agent_dir,
                                                         const v1::WorkRef& work);

// Both.
Status remove_checkpoints(const std::filesystem::path& agent_dir, const v1::WorkRef& work);

// Removes what has not changed since a day before `now`, and all but the newest 4; in memory, since an hour, and all
// but the newest; never those in `used`, which are paths of checkpoint_dir(). Also ends removals that were interrupted.
Status remove_old_checkpoints(const std::filesystem::path& agent_dir, const std::set<std::filesystem::path>& used,
                              Time now);

}  // namespace freshet::agent
