#include "tests/sim/faults.h"

#include <algorithm>
#include <cmath>

namespace freshet::sim {
namespace {

constexpr Duration kDay = Duration::seconds(24 * 3600);
constexpr uint64_t kBadGangOdds = 8;
constexpr uint64_t kFirstTimeOdds = 6;

// Every kind there is: one that never strikes is seen as a zero.
constexpr const char* kKinds[] = {
    "agent: crash",
    "agent: journal sent again",
    "agent: pause",
    "client: answer lost",
    "client: request lost",
    "client: rival promoter",
    "clock: a day ahead",
    "clock: a day back",
    "clock: a little back",
    "daemon: crash at a point",
    "daemon: crash between events",
    "disk: crash in a write",
    "disk: full",
    "disk: read failed",
    "disk: reads fail",
    "disk: torn write",
    "disk: write failed, not written",
    "disk: write failed, written",
    "disk: writes fail",
    "disk: writes refused, full",
    "gang: cannot start",
    "gang: crash",
    "gang: exit code",
    "gang: hang",
    "gang: killed",
    "gang: leaves nothing",
    "gang: other numerics",
    "gang: other weights",
    "gang: out of memory",
    "gang: supervisor dies",
    "network: connection lost",
    "network: half-open connection",
    "network: nothing gets to the agent",
    "network: nothing gets to the daemon",
    "network: partition",
    "network: slow",
    "node: reboot",
    "node: replaced",
    "node: replaced during an upload",
    "source: a file is removed",
    "source: a file is replaced",
    "source: a file is seen again",
    "source: an old file arrives late",
    "source: degraded",
};

uint64_t hash_of(std::string_view name, uint64_t salt) {
  uint64_t hash = 14695981039346656037ull ^ salt;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash ^ hash >> 29;
}

}  // namespace

Faults::Faults(SimWorld& world, Duration mean) : world_(world), mean_(mean), life_salt_(world.draw(UINT64_MAX)) {
  for (const char* kind : kKinds) counts_[kind] = 0;
  world.on_crash_point([this](std::string_view point) {
    if (crashes_at(point)) return true;
    if (on_point_) on_point_(point);
    return false;
  });
  world.on_daemon_gone([this] {
    // Whoever watches over the daemon starts it again, sooner or later.
    const Duration after = !on_                  ? Duration::millis(100)
                           : world_.draw(4) == 0 ? between(1000, 90'000)
                                                 : between(100, 5000);
    world_.at(after, "the daemon is started", [this] {
      if (!world_.daemon_exists()) world_.start_daemon();
    });
  });
}

Duration Faults::between(int64_t from_ms, int64_t to_ms) {
  return Duration::millis(from_ms + static_cast<int64_t>(world_.draw(static_cast<uint64_t>(to_ms - from_ms))));
}

SimAgent& Faults::any_agent() {
  auto item = world_.agents().begin();
  std::advance(item, world_.draw(world_.agents().size()));
  return *item->second;
}

bool Faults::strikes(const char* kind, uint64_t odds) {
  if (!on_ || world_.draw(odds) != 0) return false;
  CHECK_MSG(counts_.contains(kind), kind);
  count(kind);
  return true;
}

void Faults::begin() {
  on_ = true;
  next();
}

void Faults::next() {
  // Exponential, in thousandths of the mean.
  const double uniform = (static_cast<double>(world_.draw(1'000'000)) + 1) / 1'000'001;
  const auto wait = static_cast<int64_t>(-std::log(uniform) * static_cast<double>(mean_.us));
  world_.at(Duration::micros(wait), nullptr, [this, era = era_] {
    if (era != era_) return;
    one();
    next();
  });
}

void Faults::one() {
  switch (world_.draw(12)) {
    case 0:
    case 1:
    case 2:
    case 10:
    case 11:
      return daemon_fault();
    case 3:
    case 4:
      return disk_fault();
    case 5:
    case 6:
      return agent_fault();
    case 7:
    case 8:
      return network_fault();
    default:
      return clock_fault();
  }
}

bool Faults::crashes_at(std::string_view point) {
  const std::string name(point);
  const bool is_first = ++points_reached_[name] == 1;
  const bool is_armed = crash_modulus_ != 0 && hash_of(point, crash_salt_) % crash_modulus_ == 0;
  // Points that few lives reach at all: one life in so many ends the daemon at the first time.
  const bool is_rare = on_ && is_first && hash_of(point, life_salt_) % kFirstTimeOdds == 0;
  if (!is_armed && !is_rare) return false;
  if (is_armed) crash_modulus_ = 0;
  ++points_crashed_[name];
  count("daemon: crash at a point");
  return true;
}

void Faults::daemon_fault() {
  switch (world_.draw(5)) {
    case 0:
      if (!world_.daemon_runs()) return;
      count("daemon: crash between events");
      return world_.crash_daemon();
    case 1:
      world_.disk_faults().torn_write = true;
      return count("disk: torn write");
    default:
      // Some points only: else the ones reached most often would have all the crashes.
      crash_salt_ = world_.draw(UINT64_MAX);
      crash_modulus_ = uint64_t{1} << world_.draw(7);
  }
}

void Faults::disk_fault() {
  DiskFaults& disk = world_.disk_faults();
  const Duration length = between(100, 20'000);
  switch (world_.draw(3)) {
    case 0:
      disk.full = true;
      count("disk: full");
      break;
    case 1:
      disk.write_error_odds = 1 + world_.draw(8);
      count("disk: writes fail");
      break;
    default:
      disk.read_error_odds = 1 + world_.draw(8);
      count("disk: reads fail");
      break;
  }
  world_.at(length, "the disk is well again", [&disk] {
    disk.full = false;
    disk.write_error_odds = disk.read_error_odds = 0;
  });
}

void Faults::restart_later(SimAgent* agent) {
  world_.at(world_.draw(3) == 0 ? between(1000, 60'000) : between(100, 3000), nullptr, [agent] { agent->start(); });
}

void Faults::agent_fault() {
  SimAgent& agent = any_agent();
  if (!agent.is_up()) return;
  const std::string node = agent.node();
  switch (world_.draw(5)) {
    case 0:
    case 1:
      count("agent: crash");
      agent.crash();
      world_.cut(node, Duration{}, Duration::millis(1));
      return restart_later(&agent);
    case 2:
      if (agent.is_paused()) return;
      count("agent: pause");
      agent.pause();
      return world_.at(between(500, 60'000), nullptr, [&agent] { agent.resume(); });
    case 3:
      count("node: reboot");
      agent.reboot(false);
      world_.cut(node, Duration{}, between(1, 60'000));
      return restart_later(&agent);
    default:
      count("node: replaced");
      agent.reboot(true);
      if (world_.draw(2) == 0) {
        count("node: replaced during an upload");
        world_.leave_upload("of " + node + " at " + to_iso8601(world_.clock().monotonic()));
      }
      world_.cut(node, Duration{}, between(1, 60'000));
      return restart_later(&agent);
  }
}

void Faults::network_fault() {
  const std::string node = any_agent().node();
  NodeNetwork& network = world_.network(node);
  const Time end = world_.clock().monotonic() + (world_.draw(2) == 0 ? between(100, 10'000) : between(10'000, 60'000));
  switch (world_.draw(6)) {
    case 0:
      count("network: partition");
      network.up_blocked_until = network.down_blocked_until = end;
      break;
    case 1:
      count("network: nothing gets to the daemon");
      network.up_blocked_until = end;
      break;
    case 2:
      count("network: nothing gets to the agent");
      network.down_blocked_until = end;
      break;
    case 3:
      count("network: slow");
      network.latency_max = between(10, 12'000);
      world_.at(end - world_.clock().monotonic(), nullptr, [&network] { network.latency_max = Duration::micros(100); });
      return;
    case 4:
      count("network: connection lost");
      return world_.cut(node, between(1, 100), between(1, 100));
    default:
      // The agent connects anew while the daemon still believes in the old connection, or the other way round.
      count("network: half-open connection");
      return world_.cut(node, between(1, 20'000), between(1, 20'000));
  }
  // A blocked connection may break before the block ends, and each side finds out for itself.
  if (world_.draw(2) == 0) {
    world_.at(between(1, 20'000), nullptr, [this, node] { world_.cut(node, between(1, 10'000), between(1, 10'000)); });
  }
}

void Faults::clock_fault() {
  switch (world_.draw(3)) {
    case 0:
      count("clock: a day ahead");
      return world_.jump_wall(kDay);
    case 1:
      count("clock: a day back");
      return world_.jump_wall(Duration{} - kDay);
    default:
      count("clock: a little back");
      return world_.jump_wall(Duration{} - between(1, 10'000));
  }
}

GangFate Faults::fate(const v1::AttemptSpec& spec) {
  GangFate fate;
  fate.launch = between(10, 1000);
  fate.start = between(20, 300);
  fate.work = spec.has_train()      ? between(2000, 40'000)
              : spec.has_replay()   ? between(2000, 20'000)
              : spec.has_evaluate() ? between(1000, 10'000)
                                    : between(500, 4000);
  if (world_.draw(6) == 0) fate.auc = 0.5;
  if (world_.draw(4) == 0) fate.loss = 0.6;
  if (spec.has_replay()) {
    if (strikes("gang: other weights", 6)) {
      fate.replay = GangFate::kOtherWeights;
    } else if (strikes("gang: other numerics", 6)) {
      fate.replay = GangFate::kOtherNumerics;
    }
  }
  if (!on_ || world_.draw(kBadGangOdds) != 0) return fate;
  fate.kind = GangFate::kFails;
  switch (world_.draw(8)) {
    case 0:
      fate.exit.set_cause(v1::ExitRecord::EXITED);
      fate.exit.set_code(1);
      count("gang: exit code");
      break;
    case 1:
      fate.exit.set_cause(v1::ExitRecord::SIGNALLED);
      fate.exit.set_signal(11);
      count("gang: crash");
      break;
    case 2:
      fate.exit.set_cause(v1::ExitRecord::SIGNALLED);
      fate.exit.set_signal(9);
      count("gang: killed");
      break;
    case 3:
      fate.exit.set_cause(v1::ExitRecord::OUT_OF_MEMORY);
      count("gang: out of memory");
      break;
    case 4:
      fate.kind = GangFate::kHangs;
      count("gang: hang");
      break;
    case 5:
      fate.kind = GangFate::kSupervisorDies;
      count("gang: supervisor dies");
      break;
    case 6:
      fate.kind = GangFate::kCannotStart;
      count("gang: cannot start");
      break;
    default:
      fate.kind = GangFate::kLeavesNothing;
      count("gang: leaves nothing");
      break;
  }
  return fate;
}

bool Faults::all_is_up() const {
  if (!world_.daemon_runs()) return false;
  return std::all_of(world_.agents().begin(), world_.agents().end(), [](const auto& item) {
    return item.second->is_up() && !item.second->is_paused() && item.second->session() != 0;
  });
}

void Faults::heal() {
  on_ = false;
  ++era_;
  crash_modulus_ = 0;
  DiskFaults& disk = world_.disk_faults();
  for (const auto& [kind, hits] : {std::pair("disk: writes refused, full", disk.refused_full),
                                   {"disk: write failed, not written", disk.failed_unwritten},
                                   {"disk: write failed, written", disk.failed_written},
                                   {"disk: read failed", disk.failed_reads},
                                   {"disk: crash in a write", disk.torn}}) {
    if (hits > 0) counts_[kind] += hits;
  }
  disk = DiskFaults{};
  for (const auto& [node, agent] : world_.agents()) {
    world_.network(node) = NodeNetwork{};
    agent->resume();
    agent->start();
  }
  if (!world_.daemon_exists()) world_.start_daemon();
}

}  // namespace freshet::sim
