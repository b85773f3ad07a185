// A simulated world around the real control code: one thread, a manual clock, a disk in memory, fake sources and fake
// agents, everything that could differ between two runs drawn from one seed. Events happen in the order of their times;
// their log is the run's identity: the same seed gives the same log byte for byte. The daemon's process may end inside
// any of its calls (a Crash is thrown there and caught here); the disk stays. With `preempt`, other events may happen
// inside a call of the daemon, where it reads or writes the store or sends: as on threads of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "daemon/api/services.h"
#include "daemon/control/agent_service.h"
#include "daemon/control/gc_round.h"
#include "daemon/control/reconciler.h"
#include "daemon/http/authenticator.h"
#include "daemon/http/websocket_session.h"
#include "daemon/sources/fake_source_hub.h"
#include "daemon/store/writer.h"
#include "tests/sim/sim_agent.h"
#include "tests/sim/sim_clock.h"
#include "tests/sim/sim_disk.h"

namespace freshet::sim {

struct SimOptions {
  bool trace = true;
  bool preempt = false;
  uint32_t heartbeat_ms = 1000;
  uint32_t lease_ms = 15000;
  control::GcOptions gc = {};
};

// The network between the daemon and one node. Frames of a blocked direction arrive after its end.
struct NodeNetwork {
  Time up_blocked_until, down_blocked_until;  // monotonic
  Duration latency_max = Duration::micros(100);
};

class SimWorld final : public AgentWorld {
 public:
  explicit SimWorld(uint64_t seed, SimOptions options = {});
  ~SimWorld() override;

  // ---- the daemon ----
  // false: it ended again at once, by a crash or because its disk failed.
  bool start_daemon();
  // As SIGKILL: whatever is not in the store is gone, and every connection breaks.
  void crash_daemon();
  // Also while it is ending.
  bool daemon_exists() const { return daemon_ != nullptr; }
  bool daemon_runs() const { return daemon_ != nullptr && !dying_; }
  // Called at each crash point that the daemon reaches; true: it ends there. It may call the daemon, as another thread.
  void on_crash_point(std::function<bool(std::string_view name)> decide);
  // Called when the daemon has ended by itself: at a crash point, in a write.
  void on_daemon_gone(std::function<void()> gone) { on_daemon_gone_ = std::move(gone); }
  // Through the real route table and handlers, as admin. The body is JSON or an upload's bytes.
  Result<std::string> call(const std::string& method, const std::string& path, const std::string& body = "",
                           std::map<std::string, std::string> query = {});

  // ---- time ----
  void at(Duration after, const char* what, std::function<void()> action) override;
  // Runs events until `done` holds (checked between events); false when `limit` of simulated time passed before.
  bool run_until(const std::function<bool()>& done, Duration limit);
  uint64_t draw(uint64_t bound) override { return random_.next() % bound; }
  Clock& clock() override { return clock_; }
  void jump_wall(Duration by);
  // Called after each event that run_until() took from the queue.
  void on_event(std::function<void()> heard) { on_event_ = std::move(heard); }
  uint64_t events() const { return event_count_; }
  // Events that happened inside a call of the daemon.
  uint64_t interleaved() const { return interleaved_; }

  // ---- the outside ----
  FakeSourceHub& sources() { return sources_; }
  SimAgent& add_agent(const std::string& node, uint32_t slots);
  const std::map<std::string, std::unique_ptr<SimAgent>>& agents() const { return agents_; }
  NodeNetwork& network(const std::string& node) { return networks_[node]; }
  // Ends the node's connection: frames on the way are lost, and each side learns of it in its own time.
  void cut(const std::string& node, Duration agent_learns, Duration daemon_learns);
  // Monotonic time at which this daemon last had a word from the node, or began.
  Time last_heard(const std::string& node) const;
  uint32_t lease_ms() const { return options_.lease_ms; }
  // The store as it is on the disk, without the disk's faults.
  Store& store() { return reader_; }
  DiskFaults& disk_faults() { return disk_faults_; }
  SimKv& disk() { return disk_; }
  // The ids of the events that a webhook has taken.
  const std::set<std::string>& told() const { return told_; }
  const ArtifactStore& artifacts() const { return artifacts_.healthy(); }
  void leave_upload(const std::string& content) { artifacts_.leave_upload(content); }

  uint64_t open_session(const std::string& node) override;
  void to_daemon(const std::string& node, uint64_t session, const v1::AgentFrame& frame) override;
  Result<std::string> upload(const std::string& node, const std::string& path, const std::string& body) override;

  void close_session(const std::string& node) override { cut(node, Duration::millis(1), Duration::millis(1)); }
  GangWatcher& gang_watcher() override { return *gang_watcher_; }
  void set_gang_watcher(GangWatcher& watcher) { gang_watcher_ = &watcher; }

  bool traces() const override { return options_.trace; }
  void note(const std::string& line) override;
  const std::string& log() const { return log_; }
  // Changes with every event and its time: what two runs of one seed must share even without a log.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  struct Daemon;
  class Session;
  class YieldingStore;
  class YieldingLink;
  class Receiver;
  struct Event {
    const char* what;
    uint32_t lane;
    std::function<void()> action;
  };
  // What must not happen at the same time shares a lane: the loop's rounds, the frames of one node.
  static constexpr uint32_t kFree = 0, kLoop = 1, kNodes = 2;

  void schedule(Duration after, const char* what, uint32_t lane, std::function<void()> action);
  void step();
  // Runs `call` as the daemon's code; false: the daemon is not there, or ended inside.
  bool in_daemon(uint32_t lane, const std::function<void()>& call);
  // Lets other events happen inside a call of the daemon, now and then.
  void yield();
  void bury_daemon();
  uint32_t lane_of(const std::string& node) const;
  void wake_reconcilers();
  void wake_reconciler(std::string_view name);
  void wake_changed();
  void schedule_reconcile(size_t index, Duration after);
  Result<std::string> serve(const std::string& method, const std::string& path, const std::string& body,
                            std::map<std::string, std::string> query);
  void to_agent(const std::shared_ptr<Session>& session, const std::string& bytes);
  void end_session(const std::shared_ptr<Session>& session, Duration agent_learns, Duration daemon_learns);
  Duration latency(const std::string& node);

  SimOptions options_;
  SimClock clock_;
  SeededRandom random_;
  std::string token_;
  DiskFaults disk_faults_;
  SimKv disk_;
  SimArtifacts artifacts_;
  Writer reader_;
  FakeSourceHub sources_;
  http::Authenticator authenticator_{clock_};
  std::optional<http::Principal> admin_;
  std::map<std::pair<int64_t, uint64_t>, Event> events_;  // by (time, order of scheduling)
  std::map<std::string, std::unique_ptr<SimAgent>> agents_;
  std::map<std::string, NodeNetwork> networks_;
  std::map<std::string, std::shared_ptr<Session>> sessions_;  // the newest of each node
  std::set<std::string> told_;
  std::unique_ptr<Daemon> daemon_;
  Time daemon_began_;
  std::map<std::string, Time> heard_;            // by node
  uint64_t daemon_number_ = 0;                   // of its start
  http::WebSocketListener* listener_ = nullptr;  // the running daemon's
  GangWatcher no_watcher_;
  GangWatcher* gang_watcher_ = &no_watcher_;
  std::function<bool(std::string_view)> decide_crash_;
  std::function<void()> on_daemon_gone_;
  std::function<void()> on_event_;
  int depth_ = 0;  // calls of the daemon's code on the stack
  uint64_t busy_lanes_ = 0;
  bool dying_ = false;  // its code is still on the stack
  uint64_t next_session_ = 1;
  uint64_t next_event_ = 1;
  uint64_t event_count_ = 0, interleaved_ = 0;
  uint64_t fingerprint_ = 14695981039346656037ull;
  std::string log_;
};

}  // namespace freshet::sim
