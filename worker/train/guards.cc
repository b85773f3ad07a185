#include "worker/train/guards.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace freshet::worker {
namespace {

double median_of(std::vector<double> values) {
  auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::string Guards::find_trouble(const Numbers& numbers) const {
  if (!std::isfinite(numbers.loss)) return "the loss is not finite";
  if (!std::isfinite(numbers.gradient_norm)) return "the gradient is not finite";
  const double limit = loss_limit(numbers.step);
  if (limit == 0 || !(numbers.loss > limit)) return "";
  char text[128];
  std::snprintf(text, sizeof text, "the loss of %.6g is above %.6g times the median of the last %zu, %.6g,",
                numbers.loss, options_.loss_spike_ratio, options_.loss_window, *median_before(numbers.step));
  return text;
}

std::optional<double> Guards::median_before(uint64_t step) const {
  const size_t unknown = is_late_ && newest_ + 1 == step ? 1 : 0;
  // A median of few losses says little, and the first of a training fall fast.
  if (options_.loss_spike_ratio == 0 || recent_losses_.size() < options_.loss_window + unknown) return std::nullopt;
  const auto end = recent_losses_.end() - static_cast<ptrdiff_t>(unknown);
  return median_of({end - static_cast<ptrdiff_t>(options_.loss_window), end});
}

double Guards::loss_limit(uint64_t step) const {
  const std::optional<double> median = median_before(step);
  return median ? options_.loss_spike_ratio * *median : 0;
}

Result<Guards::Action> Guards::judge(const Numbers& numbers, bool may_roll_back, std::string* trouble) {
  *trouble = find_trouble(numbers);
  if (trouble->empty()) {
    if (options_.loss_spike_ratio > 0) {
      if (recent_losses_.size() == options_.loss_window + (is_late_ ? 1 : 0)) {
        recent_losses_.erase(recent_losses_.begin());
      }
      recent_losses_.push_back(numbers.loss);
      newest_ = numbers.step;
    }
    return Action::kGoOn;
  }
  *trouble += " at step " + std::to_string(numbers.step) + " of " + std::to_string(numbers.steps);
  if (tried_again_.contains(numbers.step)) {
    skipped_.insert(numbers.step);
    return Action::kSkip;
  }
  if (!may_roll_back) return invalid_argument(*trouble);
  if (rollbacks_ >= options_.rollbacks_max) {
    return invalid_argument(*trouble + ", and guards.rollbacks_max (" + std::to_string(options_.rollbacks_max) +
                            ") is spent");
  }
  ++rollbacks_;
  tried_again_.insert(numbers.step);
  return Action::kRollBack;
}

void Guards::restore(const std::vector<uint64_t>& skipped, std::vector<double> recent_losses, uint64_t step) {
  skipped_.insert(skipped.begin(), skipped.end());
  // Another attempt went back once for each of these, but for what was left out from the start.
  rollbacks_ = std::max(rollbacks_, static_cast<uint32_t>(skipped_.size() - left_out_));
  recent_losses_ = std::move(recent_losses);
  newest_ = step;
  while (skipped_.contains(newest_)) --newest_;
}

}  // namespace freshet::worker
