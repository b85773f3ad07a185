// A simulated world around the real control code: one thread, a manual clock, a memory store, fake sources and fake
// agents, everything that could differ between two runs drawn from one seed. Events happen in the order of their times;
// the log of them is the run's identity: the same seed gives the same log byte for byte.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "daemon/api/services.h"
#include "daemon/control/agent_service.h"
#include "daemon/control/reconciler.h"
#include "daemon/http/authenticator.h"
#include "daemon/sources/fake_source_hub.h"
#include "daemon/store/artifact_store.h"
#include "daemon/store/memory_kv.h"
#include "daemon/store/writer.h"
#include "tests/sim/sim_agent.h"

namespace freshet::sim {

class SimClock final : public Clock {
 public:
  Time now() const override { return {kEpoch.us + elapsed_.us}; }
  Time monotonic() const override { return {elapsed_.us}; }
  void advance_to(Time monotonic) { elapsed_ = {monotonic.us}; }

 private:
  static constexpr Time kEpoch{1'767'225'600'000'000};  // 2026-01-01
  Duration elapsed_;
};

class SimWorld final : public AgentWorld {
 public:
  explicit SimWorld(uint64_t seed);
  ~SimWorld() override;

  // ---- the daemon ----
  void start_daemon();
  // As SIGKILL: whatever is not in the store is gone, and every connection breaks.
  void crash_daemon();
  bool daemon_runs() const { return daemon_ != nullptr; }
  // Through the real route table and handlers, as admin. The body is JSON or an upload's bytes.
  Result<std::string> call(const std::string& method, const std::string& path, const std::string& body = "",
                           std::map<std::string, std::string> query = {}) override;

  // ---- time ----
  void at(Duration after, std::string what, std::function<void()> action) override;
  // Runs events until `done` holds (checked between events); false when `limit` of simulated time passed before.
  bool run_until(const std::function<bool()>& done, Duration limit);
  uint64_t draw(uint64_t bound) override { return random_.next() % bound; }
  Clock& clock() override { return clock_; }

  // ---- the outside ----
  FakeSourceHub& sources() { return sources_; }
  SimAgent& add_agent(const std::string& node, uint32_t slots);
  Store& store() { return writer_; }
  void to_daemon(const std::string& node, uint64_t session, const v1::AgentFrame& frame) override;
  uint64_t open_session(const std::string& node) override;

  void note(const std::string& line) override;
  const std::string& log() const { return log_; }
  // What is broken, by name; empty: every invariant holds.
  std::string broken_invariant() const;

 private:
  struct Daemon;
  class Link;
  struct Event {
    std::string what;
    std::function<void()> action;
  };

  void wake_reconcilers();
  void schedule_reconcile(size_t index, Duration after);

  SimClock clock_;
  SeededRandom random_;
  std::string token_;
  MemoryKv kv_;
  Writer writer_{kv_, clock_};
  FakeSourceHub sources_;
  MemoryArtifactStore artifacts_;
  http::Authenticator authenticator_{clock_};
  std::map<std::pair<int64_t, uint64_t>, Event> events_;  // by (time, tie-break drawn from the seed)
  std::map<std::string, std::unique_ptr<SimAgent>> agents_;
  std::unique_ptr<Daemon> daemon_;
  uint64_t next_session_ = 1;
  uint64_t next_event_ = 1;
  std::string log_;
};

}  // namespace freshet::sim
