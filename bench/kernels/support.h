// Inputs, comparisons and measurements of the kernel benchmarks.
#pragma once

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <vector>

#include "base/random.h"

namespace freshet::kernels {

// Values in [-1, 1), different for each name; the same in every run.
inline std::vector<float> values(size_t count, const char* name) {
  Philox philox(1, stream_of(name));
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(2 * philox.uniform(i) - 1);
  return values;
}

inline bool close(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])) <= tolerance)) return false;
  }
  return true;
}

// Times run() after `ok` has said whether its results are those of the reference; `bytes` moved and operations made by
// one call, or 0.
template <typename Run>
void measure(benchmark::State& state, bool ok, double bytes, double operations, Run run) {
  if (!ok) {
    state.SkipWithError("differs from the reference");
    return;
  }
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  if (bytes > 0) state.counters["bytes/s"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
  if (operations > 0) {
    state.counters["FLOP/s"] = benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate);
  }
}

}  // namespace freshet::kernels
