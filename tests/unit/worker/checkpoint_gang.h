// A gang of local ranks that runs the training of checkpoint_support.h, and the bits that it came to. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <vector>

#include "tests/unit/worker/checkpoint_support.h"
#include "tests/unit/worker/shared_floats.h"
#include "worker/comm/local.h"

namespace freshet::worker {

struct Bits {
  std::vector<float> weights, m, v;
  bool operator==(const Bits& other) const {
    auto same = [](const auto& a, const auto& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return same(weights, other.weights) && same(m, other.m) && same(v, other.v);
  }
};

inline const Bits& undisturbed() {
  static const Bits kBits = [] {
    CheckpointedRun run;
    SingleCommunicator comm;
    Status status = run.run(&comm);
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    return Bits{run.weights, run.m, run.v};
  }();
  return kBits;
}

struct MemoryPlace {
  std::filesystem::path directory;  // empty: none
  uint64_t left = 0;                // CheckpointOptions::memory_left
};

// What a gang of `ranks` comes to; -1 in `resumed` when it began at the start. The error is the gang's.
struct GangRun {
  Status status;
  Bits bits;
  double resumed = -1;
};
inline GangRun run_gang(int ranks, const std::filesystem::path& directory, uint64_t epoch,
                        const std::function<Status(int rank, uint64_t step)>& on_step = {}, bool slow_steps = true,
                        const MemoryPlace& memory = {}) {
  size_t count = undisturbed().weights.size();
  SharedFloats shared(3 * count + 1);
  shared.clear();
  GangRun outcome;
  outcome.status = run_local_gang(ranks, [&](Communicator& comm) -> Status {
    CheckpointedRun run;
    run.directory = directory;
    run.epoch = epoch;
    run.slow_steps = slow_steps;
    run.memory_directory = memory.directory;
    run.memory_left = memory.left;
    if (on_step) run.on_step = [&](const StepResult& result) { return on_step(comm.rank(), result.step); };
    RETURN_IF_ERROR(run.run(&comm, 2));
    if (comm.rank() == 0) {
      std::copy(run.m.begin(), run.m.end(), shared.data() + count);
      std::copy(run.v.begin(), run.v.end(), shared.data() + 2 * count);
      shared.data()[3 * count] = run.resumed_from.empty() ? -1.0F : static_cast<float>(run.resumed_from[0]);
    }
    if (comm.rank() == comm.size() - 1) std::copy(run.weights.begin(), run.weights.end(), shared.data());
    return Status::ok();
  });
  auto at = shared.values();
  auto part = [&](size_t i) {
    return std::vector<float>(at.begin() + static_cast<ptrdiff_t>(i * count),
                              at.begin() + static_cast<ptrdiff_t>((i + 1) * count));
  };
  outcome.bits = {part(0), part(1), part(2)};
  outcome.resumed = static_cast<double>(at[3 * count]);
  return outcome;
}

}  // namespace freshet::worker
