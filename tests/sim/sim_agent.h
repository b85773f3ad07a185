// A simulated node: obeys the daemon's frames as the real agent does and keeps what the real one keeps on disk (epochs,
// gangs and their journals) over its own restarts. Gangs run under supervisors of their own, so they go on while the
// agent is down or stopped; how each fares is its fate, which the world decides.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "proto/agent.pb.h"
#include "tests/sim/sim_gang.h"

namespace freshet::sim {

// What an agent may do to the world around it.
class AgentWorld {
 public:
  virtual ~AgentWorld() = default;
  virtual void at(Duration after, const char* what, std::function<void()> action) = 0;
  virtual uint64_t draw(uint64_t bound) = 0;
  virtual Clock& clock() = 0;
  // One HTTP PUT from that node.
  virtual Result<std::string> upload(const std::string& node, const std::string& path, const std::string& body) = 0;
  // 0: the daemon can't be reached.
  virtual uint64_t open_session(const std::string& node) = 0;
  virtual void to_daemon(const std::string& node, uint64_t session, const v1::AgentFrame& frame) = 0;
  // The agent ends its connection; it hears of the end as of any other.
  virtual void close_session(const std::string& node) = 0;
  virtual GangWatcher& gang_watcher() = 0;
  virtual bool traces() const = 0;
  virtual void note(const std::string& line) = 0;
};

class SimAgent {
 public:
  SimAgent(AgentWorld& world, std::string node, uint32_t slots);

  // ---- its process and its machine ----
  void start();
  // SIGKILL: what it keeps in memory is gone; its gangs go on.
  void crash();
  // SIGSTOP and SIGCONT: frames wait, and are handled when it goes on.
  void pause();
  void resume();
  // Every process of the node ends. Without its disk it comes back as a new machine of the same name.
  void reboot(bool loses_disk);
  bool is_up() const { return up_; }
  bool is_paused() const { return paused_; }

  // ---- from the network ----
  void on_frame(uint64_t session, const v1::DaemonFrame& frame);
  void on_closed(uint64_t session);

  const std::string& node() const { return node_; }
  uint64_t session() const { return session_; }
  uint32_t slots() const { return slots_; }
  // Slots of the gangs whose ranks live.
  uint32_t slots_in_use() const;
  // How often each "WORK@EPOCH" was started.
  const std::map<std::string, int>& launches() const { return launches_; }
  // Works with more than one live gang.
  std::string doubly_running() const;
  size_t gangs() const { return gangs_.size(); }

 private:
  struct Gang {  // its directory, but for the agent's memory of it
    v1::AttemptSpec spec;
    GangFate fate;
    std::vector<v1::JournalEntry> journal;
    std::map<std::string, GangOutput> outputs;  // by digest
    bool launched = false;                      // its supervisor was started
    bool running = false;                       // and lives
    // the agent's memory:
    uint64_t acknowledged = 0, sent = 0;
    Time progress;  // when something was last sent or acknowledged
    bool forget = false, ships = false, uploads = false;
  };

  void connect();
  void retry_connect();
  void beat(uint64_t session);
  void handle(const v1::DaemonFrame& frame);
  void send(const v1::AgentFrame& frame);
  void on_welcome(const v1::Welcome& welcome);
  void on_prepare(const v1::Prepare& prepare);
  void on_launch(const v1::Launch& launch);
  void launch(const v1::Launch& launch);
  void work(const std::string& gang_id, size_t stage);
  void hand_in(const std::string& gang_id, const GangFate& fate);
  void stop(const std::string& gang_id);
  void end(const std::string& gang_id, v1::ExitRecord exit);
  void append(const std::string& gang_id, v1::JournalEntry entry);
  void acknowledge(const std::string& gang_id, uint64_t sequence);
  void ship(const std::string& gang_id);
  void ship_later(const std::string& gang_id, Duration after);
  bool upload(const std::string& gang_id, const v1::JournalEntry& entry);
  void forget(const std::string& gang_id);
  Status check_term(uint64_t term) const;
  Duration some_millis(uint64_t from, uint64_t to);

  AgentWorld& world_;
  std::string node_;
  uint32_t slots_;
  // the process
  bool up_ = false, paused_ = false;
  uint64_t life_ = 0;  // number of this process; what an older one scheduled is void
  uint64_t session_ = 0;
  bool welcomed_ = false;
  uint64_t term_ = 0;
  Duration heartbeat_ = Duration::seconds(1);
  std::vector<std::pair<uint64_t, v1::DaemonFrame>> waiting_;  // frames, while it is paused
  bool closed_waiting_ = false;
  // the disk
  uint64_t boot_ = 1;
  uint64_t highest_term_ = 0;
  std::map<std::string, std::pair<uint64_t, std::string>> epochs_;  // work: (epoch, gang)
  std::map<std::string, Gang> gangs_;
  // for whoever watches
  std::map<std::string, int> launches_;
};

}  // namespace freshet::sim
