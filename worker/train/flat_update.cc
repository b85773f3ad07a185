#include "worker/train/flat_update.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/reduce.h"

namespace freshet::worker {
namespace {

constexpr size_t kPiece = 64 * kernels::kBlock;

void for_each_piece(size_t count, ThreadPool* pool, const std::function<void(size_t, size_t)>& job) {
  Status status = pool->run((count + kPiece - 1) / kPiece, [&](size_t index, unsigned) {
    job(index * kPiece, std::min(count, (index + 1) * kPiece));
    return Status::ok();
  });
  CHECK(status.is_ok());
}

}  // namespace

void block_sums_of_squares(size_t count, const float* gradient, double* sums, ThreadPool* pool) {
  for_each_piece(count, pool, [&](size_t begin, size_t end) {
    kernels::block_sums_of_squares(end - begin, gradient + begin, sums + begin / kernels::kBlock);
  });
}

double norm_of(std::span<const double> block_sums) {
  double squares = 0;
  for (double sum : block_sums) squares += sum;
  return std::sqrt(squares);
}

kernels::AdamWStep adamw_step(const TrainOptions& options, const StepPlan& plan) {
  kernels::AdamWStep step;
  step.learning_rate = static_cast<float>(plan.learning_rate);
  step.weight_decay = static_cast<float>(options.weight_decay);
  step.beta1 = static_cast<float>(options.beta1);
  step.beta2 = static_cast<float>(options.beta2);
  step.epsilon = static_cast<float>(options.epsilon);
  kernels::set_corrections(plan.step, &step);
  return step;
}

float clipping_factor(double norm, double clip_norm) {
  return clip_norm > 0 && norm > clip_norm ? static_cast<float>(clip_norm / norm) : 1.0F;
}

void round_weights(size_t count, const float* weights, uint16_t* rounded, ThreadPool* pool) {
  for_each_piece(count, pool, [&](size_t begin, size_t end) {
    kernels::to_bfloat16(1, end - begin, end - begin, weights + begin, rounded + begin);
  });
}

std::vector<Range> decayed_ranges(const std::vector<TensorView>& tensors) {
  std::vector<Range> ranges;
  for (const auto& tensor : tensors) {
    if (tensor.shape.size() < 2) continue;
    ranges.push_back({tensor.offset, tensor.offset + tensor.size});
  }
  std::sort(ranges.begin(), ranges.end(), [](Range a, Range b) { return a.begin < b.begin; });
  return ranges;
}

void update_weights(const kernels::AdamWStep& step, const OwnedSegment& segment, const std::vector<Range>& decayed,
                    ThreadPool* pool) {
  kernels::AdamWStep without_decay = step;
  without_decay.weight_decay = 0;
  auto update = [&](Range part, bool decays) {
    const size_t at = part.begin - segment.range.begin;
    const auto& s = decays ? step : without_decay;
    float *w = segment.weights + at, *m = segment.m + at, *v = segment.v + at;
    if (segment.rounded == nullptr) {
      kernels::adamw(s, part.size(), segment.gradient + at, w, m, v);
    } else {
      kernels::adamw_and_round(s, part.size(), segment.gradient + at, w, m, v, segment.rounded + at);
    }
  };
  for_each_piece(segment.range.size(), pool, [&](size_t begin, size_t end) {
    Range rest{segment.range.begin + begin, segment.range.begin + end};
    auto next = std::partition_point(decayed.begin(), decayed.end(), [&](Range r) { return r.end <= rest.begin; });
    for (; next != decayed.end() && next->begin < rest.end; ++next) {
      const Range inside{std::max(next->begin, rest.begin), std::min(next->end, rest.end)};
      if (rest.begin < inside.begin) update({rest.begin, inside.begin}, false);
      update(inside, true);
      rest.begin = inside.end;
    }
    if (rest.begin < rest.end) update(rest, false);
  });
}

}  // namespace freshet::worker
