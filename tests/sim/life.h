// One life of the whole system, drawn from one seed: half an hour of files, commits, requests and faults; then the
// faults end and everything must come to rest. The same seed gives the same life.
#pragma once

#include <memory>
#include <string>

#include "tests/sim/clients.h"
#include "tests/sim/faults.h"

namespace freshet::sim {

struct LifeResult {
  std::string failure;  // empty: nothing was broken
  uint64_t fingerprint = 0;
  uint64_t events = 0, runs = 0, faults = 0;
  Duration simulated;
  Counts counts, points_reached, points_crashed;
  std::string log;  // with trace
};

LifeResult live(uint64_t seed, bool trace);

}  // namespace freshet::sim
