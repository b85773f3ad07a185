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

float clipping_factor(double norm, double clip_norm) {
  return clip_norm > 0 && norm > clip_norm ? static_cast<float>(clip_norm / norm) : 1.0F;
}

void round_weights(size_t count, const float* weights, uint16_t* rounded, ThreadPool* pool) {
  for_each_piece(count, pool, [&](size_t begin, size_t end) {
    kernels::to_bfloat16(1, end - begin, end - begin, weights + begin, rounded + begin);
  });
}

void update_weights(const kernels::AdamWStep& step, size_t count, const float* gradient, float* weights, float* m,
                    float* v, uint16_t* rounded, ThreadPool* pool) {
  for_each_piece(count, pool, [&](size_t begin, size_t end) {
    if (rounded == nullptr) {
      kernels::adamw(step, end - begin, gradient + begin, weights + begin, m + begin, v + begin);
    } else {
      kernels::adamw_and_round(step, end - begin, gradient + begin, weights + begin, m + begin, v + begin,
                               rounded + begin);
    }
  });
}

}  // namespace freshet::worker
