// The fault engine: what goes wrong in a life, when, and for how long, drawn from the life's seed. Each kind is counted
// where it takes effect. heal() ends all of it; from then on nothing goes wrong.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "tests/sim/sim_world.h"

namespace freshet::sim {

using Counts = std::map<std::string, uint64_t>;

class Faults {
 public:
  // `mean` of the time between two faults.
  Faults(SimWorld& world, Duration mean);

  // From now on, until heal().
  void begin();
  void heal();
  bool are_on() const { return on_; }
  // The fate of a gang that is being launched; counts what goes wrong with it.
  GangFate fate(const v1::AttemptSpec& spec);
  // One in `odds`, while faults are on; counted under `kind` when true.
  bool strikes(const char* kind, uint64_t odds);

  // Hears of each crash point that the daemon reaches and passes, inside the call; may call the daemon.
  void on_point(std::function<void(std::string_view)> heard) { on_point_ = std::move(heard); }

  const Counts& counts() const { return counts_; }
  const Counts& points_reached() const { return points_reached_; }
  const Counts& points_crashed() const { return points_crashed_; }
  // Everything that the faults have taken down stands again.
  bool all_is_up() const;

 private:
  void next();
  void one();
  void daemon_fault();
  void disk_fault();
  void agent_fault();
  void network_fault();
  void clock_fault();
  bool crashes_at(std::string_view point);
  void restart_later(SimAgent* agent);
  SimAgent& any_agent();
  Duration between(int64_t from_ms, int64_t to_ms);
  void count(const std::string& kind) { ++counts_[kind]; }

  SimWorld& world_;
  Duration mean_;
  bool on_ = false;
  uint64_t era_ = 0;  // what was scheduled before heal() is void after it
  uint64_t life_salt_;
  uint64_t crash_salt_ = 0, crash_modulus_ = 0;  // armed at points whose hash is 0; 0: not armed
  std::function<void(std::string_view)> on_point_;
  Counts counts_, points_reached_, points_crashed_;
};

}  // namespace freshet::sim
