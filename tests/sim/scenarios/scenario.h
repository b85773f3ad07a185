// A scenario: the smallest story in which a bug shows that a seed once found, told with the simulator's own parts. The
// pipeline of documents.h on one node; something goes wrong at a named crash point.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/log.h"
#include "base/sha256.h"
#include "tests/sim/checker.h"
#include "tests/sim/documents.h"
#include "tests/sim/sim_world.h"

namespace freshet::sim {

class Scenario : public testing::Test {
 protected:
  Scenario() : world_(23), checker_(world_) {
    set_log_level(LogLevel::kError);
    world_.add_agent("node-1", 2);
    world_.start_daemon();
    EXPECT_TRUE(world_.call("POST", "/api/v1/apply", kDocuments).is_ok());
  }

  void arrive(int from, int to) {
    for (int day = from; day <= to; ++day) {
      ObservedFile file;
      file.uri = "day-" + std::to_string(100 + day) + ".parquet";
      file.size = 100;
      file.sha256 = Sha256::hex_of(file.uri);
      file.changed = world_.clock().now();
      world_.sources().add_file("default", "drops", file);
    }
  }
  // Does it when the daemon first reaches the crash point; the daemon goes on.
  void when_reached(const std::string& point, const std::function<void()>& act) {
    world_.on_crash_point([point, act, done = false](std::string_view name) mutable {
      if (!done && name == point) {
        done = true;
        act();
      }
      return false;
    });
  }
  bool until(const std::function<bool()>& done, Duration limit = Duration::seconds(120)) {
    return world_.run_until([&] { return !checker_.broken().empty() || done(); }, limit) && checker_.broken().empty();
  }
  bool until_runs_end(size_t count) {
    return until([&] {
      size_t ended = 0;
      for (const auto& [key, run] : checker_.runs()) ended += run.finished_us() != 0 ? 1 : 0;
      return ended >= count;
    });
  }
  const v1::Run& only_run() {
    EXPECT_EQ(checker_.runs().size(), 1u);
    return checker_.runs().begin()->second;
  }

  SimWorld world_;
  Checker checker_;
};

}  // namespace freshet::sim
