// Inverted dropout (Srivastava et al., 2014) whose mask is computed, not stored: element i of the whole (unsharded)
// tensor is kept when word i % 4 of Philox(seed, stream).block(i / 4) is at or above the probability, so a gradient
// repeats the forward's mask, and the bits do not know of threads, ranks or restarts. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace freshet::kernels {

struct Dropout {
  float probability = 0;  // in [0, 1)
  uint64_t seed = 0;
  uint64_t stream = 0;  // one for each place and step
};

// x[i] = element first + i kept ? x[i] / (1 - probability) : 0. `first` is a multiple of 4. With probability 0:
// nothing.
void dropout(const Dropout& dropout, uint64_t first, size_t count, float* x);

namespace ref {
void dropout(const Dropout& dropout, uint64_t first, size_t count, float* x);
}  // namespace ref

}  // namespace freshet::kernels
