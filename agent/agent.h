// The agent of a node: keeps one connection to the daemon for as long as it lives, promises epochs, and owns the node's
// gangs. run() is the one thread that handles frames; gangs have threads of their own. Stopping the agent, or losing
// the daemon, touches no gang: the next agent of the directory finds them on the disk.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "agent/artifact_cache.h"
#include "agent/channel.h"
#include "agent/epoch_ledger.h"
#include "agent/gang.h"
#include "agent/supervisor_process.h"
#include "base/random.h"
#include "base/status.h"
#include "base/time.h"

namespace freshet::agent {

struct AgentOptions {
  std::filesystem::path dir;
  std::string node;
  uint32_t slots = 1;
  SupervisorProgram program;
};

class Agent {
 public:
  // Takes the directory (conflict when another agent has it), writes agent.pid.json, and finds the gangs on the disk.
  // The network and the clock outlive the agent.
  static Result<std::unique_ptr<Agent>> open(AgentOptions options, DaemonNetwork& network, const Clock& clock,
                                             Random& random);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Connects, again and again, until stop().
  void run();
  // Any thread; run() returns soon after.
  void stop();

 private:
  struct Inbox {  // what callbacks leave for run()
    std::deque<v1::DaemonFrame> frames;
    std::optional<Status> closed;
    bool stopping = false;
    bool gang_gone = false;
  };

  Agent(AgentOptions options, DaemonNetwork& network, const Clock& clock, Random& random);
  Status prepare();
  Status find_gangs();
  // One connection from hello to its end. True: the daemon welcomed us.
  bool serve();
  v1::AgentFrame hello() const;
  // Waits for something in the inbox or until `until` (monotonic), and takes it.
  Inbox take_inbox(Time until);
  Status handle(const v1::DaemonFrame& frame);
  Status on_welcome(const v1::Welcome& welcome);
  void on_prepare(const v1::Prepare& prepare);
  void on_launch(const v1::Launch& launch);
  void on_stop(const v1::StopAttempt& stop);
  Status check_term(uint64_t term) const;
  Status start_gang(const v1::AttemptSpec& attempt);
  Gang* find_gang(const std::string& gang_id);
  void remove_gone_gangs();
  Status drop_old_checkpoints() const;
  void open_channel(uint64_t connection, std::unique_ptr<AgentChannel> channel);
  void close_channel();
  Status send(uint64_t connection, const v1::AgentFrame& frame);

  AgentOptions options_;
  DaemonNetwork& network_;
  const Clock& clock_;
  Random& random_;
  Fd lock_;
  std::unique_ptr<EpochLedger> ledger_;
  ArtifactCache cache_;
  std::string boot_id_;

  uint64_t connection_ = 0;  // number of the newest connection
  bool welcomed_ = false;
  uint64_t term_ = 0;
  Duration heartbeat_{};
  std::string unreachable_;  // why the last attempt to connect failed

  std::mutex channel_mutex_;
  std::unique_ptr<AgentChannel> channel_;  // guarded by channel_mutex_
  uint64_t channel_number_ = 0;            // guarded by channel_mutex_

  std::mutex inbox_mutex_;
  std::condition_variable inbox_changed_;
  Inbox inbox_;                // guarded by inbox_mutex_
  uint64_t inbox_number_ = 0;  // guarded by inbox_mutex_: callbacks of older connections are not heard

  GangContext context_;
  std::map<std::string, std::unique_ptr<Gang>> gangs_;  // last: their threads use all of the above
};

}  // namespace freshet::agent
