// A simulated node: obeys the daemon's frames as the real agent does, keeps what the real one keeps on disk (epochs,
// journals) over its own reconnects, and lets its gangs succeed after a while drawn from the seed.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "proto/agent.pb.h"

namespace freshet::sim {

// What an agent may do to the world around it.
class AgentWorld {
 public:
  virtual ~AgentWorld() = default;
  virtual void at(Duration after, std::string what, std::function<void()> action) = 0;
  virtual uint64_t draw(uint64_t bound) = 0;
  virtual Clock& clock() = 0;
  virtual Result<std::string> call(const std::string& method, const std::string& path, const std::string& body,
                                   std::map<std::string, std::string> query) = 0;
  // 0: the daemon is down.
  virtual uint64_t open_session(const std::string& node) = 0;
  virtual void to_daemon(const std::string& node, uint64_t session, const v1::AgentFrame& frame) = 0;
  virtual void note(const std::string& line) = 0;
};

class SimAgent {
 public:
  SimAgent(AgentWorld& world, std::string node, uint32_t slots);

  void connect();
  void on_frame(uint64_t session, const v1::DaemonFrame& frame);
  void on_closed(uint64_t session);

  const std::string& node() const { return node_; }
  uint64_t session() const { return session_; }
  // Slots of the gangs whose ranks live, and how often each (work, epoch) was started.
  uint32_t slots_in_use() const;
  uint32_t slots() const { return slots_; }
  const std::map<std::string, int>& launches() const { return launches_; }
  // Works with more than one live gang.
  std::string doubly_running() const;

 private:
  struct Gang {
    v1::AttemptSpec spec;
    std::vector<v1::JournalEntry> journal;
    uint64_t acknowledged = 0;
    uint64_t sent = 0;
    bool running = false;
  };

  void send(v1::AgentFrame frame);
  void beat(uint64_t session);
  void on_prepare(const v1::Prepare& prepare);
  void on_launch(const v1::Launch& launch);
  void append(const std::string& gang_id, v1::JournalEntry entry);
  void ship(const std::string& gang_id);
  void finish(const std::string& gang_id);
  void upload_and_finish(const std::string& gang_id);
  Duration some_millis(uint64_t from, uint64_t to);

  AgentWorld& world_;
  std::string node_;
  uint32_t slots_;
  uint64_t session_ = 0;
  uint64_t highest_term_ = 0;
  std::map<std::string, uint64_t> epochs_;  // by work
  std::map<std::string, Gang> gangs_;
  std::map<std::string, int> launches_;
};

}  // namespace freshet::sim
