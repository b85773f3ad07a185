// Times the CPU kernels on the shapes that the tabular model uses. Each result is compared with the reference before it
// is timed. Counters: FLOP/s of products, bytes/s of what is bound by memory.
#include <benchmark/benchmark.h>

#include <vector>

#include "bench/kernels/support.h"
#include "kernels/adamw.h"
#include "kernels/linear.h"

namespace freshet::kernels {
namespace {

using Product = Status (*)(const LinearShape&, const float*, const float*, float*);
using ProductRef = void (*)(const LinearShape&, const float*, const float*, float*);

void product(benchmark::State& state, Product run, ProductRef reference, size_t a_size, size_t b_size, size_t out_size,
             const LinearShape& shape) {
  auto a = values(a_size, "a"), b = values(b_size, "b");
  std::vector<float> out(out_size), expected(out_size);
  reference(shape, a.data(), b.data(), expected.data());
  if (!run(shape, a.data(), b.data(), out.data()).is_ok() || !close(out, expected, 1e-3)) {
    state.SkipWithError("differs from the reference");
    return;
  }
  for (auto _ : state) {
    if (!run(shape, a.data(), b.data(), out.data()).is_ok()) state.SkipWithError("failed");
    benchmark::DoNotOptimize(out.data());
  }
  double operations = 2.0 * static_cast<double>(shape.rows * shape.inputs * shape.outputs);
  state.counters["FLOP/s"] = benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate);
}

LinearShape shape_of(const benchmark::State& state) {
  return {static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1)),
          static_cast<size_t>(state.range(2))};
}

void linear_forward_cpu(benchmark::State& state) {
  auto s = shape_of(state);
  product(state, linear_forward, ref::linear_forward, s.rows * s.inputs, s.outputs * s.inputs, s.rows * s.outputs, s);
}
void linear_input_gradient_cpu(benchmark::State& state) {
  auto s = shape_of(state);
  product(state, linear_input_gradient, ref::linear_input_gradient, s.rows * s.outputs, s.outputs * s.inputs,
          s.rows * s.inputs, s);
}
void linear_weight_gradient_cpu(benchmark::State& state) {
  auto s = shape_of(state);
  product(state, linear_weight_gradient, ref::linear_weight_gradient, s.rows * s.outputs, s.rows * s.inputs,
          s.outputs * s.inputs, s);
}

void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "inputs", "outputs"});
  for (auto [inputs, outputs] : {std::pair{33, 64}, std::pair{65, 64}, std::pair{64, 32}, std::pair{32, 1}}) {
    benchmark->Args({512, inputs, outputs});
  }
  benchmark->Args({512, 256, 256});
}
BENCHMARK(linear_forward_cpu)->Apply(layers);
BENCHMARK(linear_input_gradient_cpu)->Apply(layers);
BENCHMARK(linear_weight_gradient_cpu)->Apply(layers);

void adamw_cpu(benchmark::State& state) {
  auto count = static_cast<size_t>(state.range(0));
  auto gradient = values(count, "gradient"), w = values(count, "w");
  std::vector<float> m(count), v(count), w_ref = w, m_ref = m, v_ref = v;
  AdamWStep step;
  set_corrections(1, &step);
  adamw(step, count, gradient.data(), w.data(), m.data(), v.data());
  ref::adamw(step, count, gradient.data(), w_ref.data(), m_ref.data(), v_ref.data());
  if (!close(w, w_ref, 1e-6)) {
    state.SkipWithError("differs from the reference");
    return;
  }
  for (auto _ : state) {
    adamw(step, count, gradient.data(), w.data(), m.data(), v.data());
    benchmark::ClobberMemory();
  }
  // Reads four floats of each element and writes three.
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * count * 7 * sizeof(float)));
}
BENCHMARK(adamw_cpu)->ArgName("elements")->Arg(12'000)->Arg(1 << 20)->Arg(1 << 24);

}  // namespace
}  // namespace freshet::kernels

BENCHMARK_MAIN();
