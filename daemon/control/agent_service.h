// AgentService: what agents say becomes records. Each frame is answered with the frames to send back; journals are
// applied in order and exactly once, and acknowledged only when they are in the store. Also keeps, in memory, which
// node was heard when. Frames of one node come one at a time; different nodes may call at once.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "daemon/control/context.h"
#include "daemon/store/tables.h"
#include "proto/agent.pb.h"
#include "proto/attempt.pb.h"
#include "proto/record.pb.h"

namespace freshet::control {

class AgentService {
 public:
  explicit AgentService(Context& context) : context_(context) {}

  // `node` is empty before the hello and set by it. An error ends the session; the agent connects again.
  Result<std::vector<v1::DaemonFrame>> on_frame(std::string* node, const v1::AgentFrame& frame);
  void on_closed(const std::string& node);

  // After the node was taken for dead: its session counts for nothing until it has connected again and said what it
  // has.
  void require_hello(const std::string& node);

  // Monotonic time of the last word from the node; for a node not heard since this start, of its first mention here.
  Time last_heard(const std::string& node);

 private:
  Result<std::vector<v1::DaemonFrame>> on_hello(const v1::AgentHello& hello);
  Status on_prepared(const std::string& node, const v1::PrepareReply& reply);
  Status on_launched(const std::string& node, const v1::LaunchReply& reply);
  Result<std::vector<v1::DaemonFrame>> on_journal(const std::string& node, const v1::JournalChunk& chunk);
  Result<std::optional<Record<v1::Attempt>>> attempt_of_gang(const Snapshot& snapshot, const std::string& gang_id);
  Status add_gang_to_welcome(const Snapshot& snapshot, const std::string& node, const v1::GangStatus& gang,
                             v1::Welcome* welcome, std::vector<v1::DaemonFrame>* replies);
  Status store_metrics(const v1::Attempt& attempt, const std::vector<const v1::JournalEntry*>& entries);
  Status apply_event(const Snapshot& snapshot, const v1::JournalEntry& entry, v1::Attempt* attempt, Change* change);

  Context& context_;
  std::mutex mutex_;
  std::map<std::string, Time> last_heard_;  // guarded by mutex_
  std::set<std::string> must_greet_;        // guarded by mutex_
};

// Ends an attempt: the state, the time, and its place in the index of active ones.
void finish_attempt(v1::Attempt* attempt, v1::Attempt::State state, Time now, Change* change);

v1::DaemonFrame stop_frame(uint64_t term, const std::string& gang_id, const std::string& reason);

}  // namespace freshet::control
