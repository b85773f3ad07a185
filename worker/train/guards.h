// What a training does when a step goes wrong: a loss or gradient that is not finite, or a loss that jumps. Pure
// decisions from numbers that are the same on all ranks, so all ranks decide alike. One thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"

namespace freshet::worker {

struct GuardOptions {
  uint32_t rollbacks_max = 3;
  double loss_spike_ratio = 0;  // 0: off
  size_t loss_window = 50;
  // Left out from the start: the record of the training that is done again says so.
  std::vector<uint64_t> skipped_steps;
};

class Guards {
 public:
  enum class Action {
    kGoOn,
    kRollBack,  // go back to the newest checkpoint and do the steps since then again
    kSkip,      // it has happened to this step before: leave its batch out
  };

  struct Numbers {
    uint64_t step = 0;  // from 1
    uint64_t steps = 0;
    double loss = 0, gradient_norm = 0;
  };

  explicit Guards(const GuardOptions& options)
      : options_(options),
        skipped_(options.skipped_steps.begin(), options.skipped_steps.end()),
        left_out_(skipped_.size()) {}

  // Before the step's update. `trouble` says what is wrong unless the answer is kGoOn. An error says why training
  // cannot go on; it names the step. `may_roll_back`: there are checkpoints to go back to.
  Result<Action> judge(const Numbers& numbers, bool may_roll_back, std::string* trouble);

  // The steps left out, ascending, and the newest losses: both are part of a checkpoint.
  std::vector<uint64_t> skipped() const { return {skipped_.begin(), skipped_.end()}; }
  bool is_skipped(uint64_t step) const { return skipped_.contains(step); }
  const std::vector<double>& recent_losses() const { return recent_losses_; }

  // After a return to an earlier step. What was decided since then stays decided.
  void restore(const std::vector<uint64_t>& skipped, std::vector<double> recent_losses);

 private:
  std::string find_trouble(const Numbers& numbers) const;

  const GuardOptions options_;
  std::set<uint64_t> skipped_, tried_again_;
  const size_t left_out_;              // of skipped_, from the start
  std::vector<double> recent_losses_;  // oldest first
  uint32_t rollbacks_ = 0;
};

}  // namespace freshet::worker
