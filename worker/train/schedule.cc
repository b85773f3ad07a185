#include "worker/train/schedule.h"

#include <algorithm>
#include <numbers>
#include <string>

#include "proto/recipe.pb.h"

namespace freshet::worker {
namespace {

// cos(pi p) for p in [0, 1], to 1e-15: -sin(y) at y = pi (p - 1/2), by its Taylor series up to y^21.
double cosine_of_half_turns(double p) {
  const double y = std::numbers::pi * (p - 0.5), square = y * y;
  double sum = 1;
  for (double n = 20; n >= 2; n -= 2) sum = 1 - sum * square / (n * (n + 1));
  return -y * sum;
}

// The part of the way from `begin` to `end` that is behind after `step`, begin < step <= end.
double part_of(uint64_t begin, uint64_t step, uint64_t end) {
  return static_cast<double>(step - begin) / static_cast<double>(end - begin);
}

}  // namespace

Result<Schedule> Schedule::of(const v1::Schedule& wanted) {
  Schedule schedule;
  schedule.warmup_steps = wanted.warmup_steps();
  switch (wanted.kind()) {
    case v1::Schedule::CONSTANT:
      return schedule;
    case v1::Schedule::COSINE:
      schedule.kind = Kind::kCosine;
      schedule.final_ratio = 0.1;
      break;
    case v1::Schedule::WSD:
      schedule.kind = Kind::kWarmupStableDecay;
      schedule.decay_fraction = wanted.decay_fraction() == 0 ? 0.2 : wanted.decay_fraction();
      break;
    default:
      return invalid_argument("optimizer.schedule.kind is unknown; use CONSTANT, COSINE or WSD");
  }
  if (wanted.has_final_ratio()) schedule.final_ratio = wanted.final_ratio();
  for (auto [name, value] :
       {std::pair{"final_ratio", schedule.final_ratio}, {"decay_fraction", schedule.decay_fraction}}) {
    if (value >= 0 && value <= 1) continue;
    return invalid_argument("optimizer.schedule." + std::string(name) + " is " + std::to_string(value) +
                            "; it must be from 0 to 1");
  }
  return schedule;
}

double Schedule::factor(uint64_t step, uint64_t steps) const {
  if (step <= warmup_steps) return part_of(0, step, warmup_steps);
  switch (kind) {
    case Kind::kConstant:
      return 1;
    case Kind::kCosine:
      return final_ratio + (1 - final_ratio) * (1 + cosine_of_half_turns(part_of(warmup_steps, step, steps))) / 2;
    case Kind::kWarmupStableDecay: {
      const auto stable = steps - static_cast<uint64_t>(decay_fraction * static_cast<double>(steps));
      const uint64_t begin = std::max(stable, warmup_steps);
      return step <= begin ? 1 : 1 - (1 - final_ratio) * part_of(begin, step, steps);
    }
  }
  return 1;
}

}  // namespace freshet::worker
