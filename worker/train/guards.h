// What a training does when a step goes wrong: a loss or gradient that is not finite, or a loss that jumps. Pure
// decisions from numbers that are the same on all ranks, so all ranks decide alike. One thread.
#pragma once

#include <cstdint>
#include <optional>
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

  // `is_late`: a step begins before the loss of the one before it is known.
  explicit Guards(const GuardOptions& options, bool is_late = false)
      : options_(options),
        is_late_(is_late),
        skipped_(options.skipped_steps.begin(), options.skipped_steps.end()),
        left_out_(skipped_.size()) {}

  // The loss above which this step goes wrong, 0 for none: some times the median of the last ones before it, which are
  // known; those that are late leave out the newest, so that it does not depend on when that became known.
  double loss_limit(uint64_t step) const;

  // What to do about a step that was updated with unless its numbers are wrong. `trouble` says what is wrong unless the
  // answer is kGoOn. An error says why training cannot go on; it names the step. `may_roll_back`: there are checkpoints
  // to go back to.
  Result<Action> judge(const Numbers& numbers, bool may_roll_back, std::string* trouble);

  // The steps left out, ascending, and the newest losses: both are part of a checkpoint.
  std::vector<uint64_t> skipped() const { return {skipped_.begin(), skipped_.end()}; }
  bool is_skipped(uint64_t step) const { return skipped_.contains(step); }
  const std::vector<double>& recent_losses() const { return recent_losses_; }

  // After a return to an earlier step, the newest that is done. What was decided since then stays decided.
  void restore(const std::vector<uint64_t>& skipped, std::vector<double> recent_losses, uint64_t step = 0);

 private:
  std::string find_trouble(const Numbers& numbers) const;
  // Of the losses that a step is measured by; none while they are too few.
  std::optional<double> median_before(uint64_t step) const;

  const GuardOptions options_;
  const bool is_late_;
  std::set<uint64_t> skipped_, tried_again_;
  const size_t left_out_;              // of skipped_, from the start
  std::vector<double> recent_losses_;  // oldest first
  uint64_t newest_ = 0;                // the step of the last of them
  uint32_t rollbacks_ = 0;
};

}  // namespace freshet::worker
