// Times the kernels of recommenders on a batch of 512 rows with 26 categorical features, as the clicks of Criteo have.
// Each result is compared with the reference before it is timed. Counters: FLOP/s of products, bytes/s of what is bound
// by memory.
#include <benchmark/benchmark.h>

#include "bench/kernels/support.h"
#include "kernels/cross_layer.h"
#include "kernels/dot_interaction.h"
#include "kernels/embedding.h"
#include "kernels/rowwise_adagrad.h"

namespace freshet::kernels {
namespace {

constexpr size_t kRows = 512, kFeatures = 26;
// Lookups are other ones from call to call, or the rows of a huge table would stay in the caches.
constexpr size_t kBatches = 512;

// Tables that fit the caches and one that does not.
void tables(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"codes", "dim"})->Args({4096, 16})->Args({4096, 64})->Args({1 << 20, 16});
}

// Rows of a table of `codes`, in no order.
std::vector<int32_t> codes_of(size_t count, size_t codes) {
  Philox philox(1, stream_of("codes"));
  std::vector<int32_t> drawn(count);
  for (size_t i = 0; i < count; ++i) drawn[i] = static_cast<int32_t>(philox.uniform(i) * static_cast<double>(codes));
  return drawn;
}

// Bags of 0 to 8 codes.
void embedding_bag_forward_cpu(benchmark::State& state) {
  const auto codes = static_cast<size_t>(state.range(0)), dim = static_cast<size_t>(state.range(1));
  std::vector<uint32_t> offsets{0};
  for (size_t r = 0; r < kRows; ++r) offsets.push_back(offsets.back() + static_cast<uint32_t>(r % 9));
  const size_t lookups = offsets.back();
  auto table = values(codes * dim, "table");
  auto drawn = codes_of(kBatches * lookups, codes);
  std::vector<float> out(kRows * dim), expected(out.size());
  ref::embedding_bag_forward(kRows, dim, drawn.data(), offsets.data(), table.data(), expected.data(), dim);
  auto run = [&] { embedding_bag_forward(kRows, dim, drawn.data(), offsets.data(), table.data(), out.data(), dim); };
  run();
  // Reads the looked up rows and their codes, and writes the means.
  const auto words = static_cast<double>(lookups * (dim + 1) + kRows * dim);
  measure(state, close(out, expected, 1e-5), words * sizeof(float), 0, run);
}
BENCHMARK(embedding_bag_forward_cpu)->Apply(tables);

// A step of the rows that a batch names.
void rowwise_adagrad_cpu(benchmark::State& state) {
  const auto codes = static_cast<size_t>(state.range(0)), dim = static_cast<size_t>(state.range(1));
  auto drawn = codes_of(kBatches * kRows, codes);
  auto gradient = values(kRows * dim, "gradient"), table = values(codes * dim, "table"), expected = table;
  std::vector<float> sums(codes), expected_sums(codes);
  const RowwiseAdagradStep step;
  size_t batch = 0;
  auto run = [&] {
    const int32_t* batch_codes = drawn.data() + batch++ % kBatches * kRows;
    for (size_t i = 0; i < kRows; ++i) {
      const auto row = static_cast<size_t>(batch_codes[i]);
      rowwise_adagrad(step, dim, gradient.data() + i * dim, table.data() + row * dim, &sums[row]);
    }
  };
  run();
  for (size_t i = 0; i < kRows; ++i) {
    const auto row = static_cast<size_t>(drawn[i]);
    ref::rowwise_adagrad(step, dim, gradient.data() + i * dim, expected.data() + row * dim, &expected_sums[row]);
  }
  // Reads a row, its gradient and its sum, and writes the row and the sum.
  const double bytes = static_cast<double>(kRows * (3 * dim + 2)) * sizeof(float);
  measure(state, close(table, expected, 1e-5) && close(sums, expected_sums, 1e-5), bytes, 0, run);
}
BENCHMARK(rowwise_adagrad_cpu)->Apply(tables);

// The features and what the perceptron makes of the numbers.
DotShape dot_shape(const benchmark::State& state) {
  DotShape s{kRows, kFeatures + 1, static_cast<size_t>(state.range(0)), 0, 0};
  s.x_stride = s.vectors * s.dim;
  s.out_stride = s.pairs();
  return s;
}

void dot_interaction_forward_cpu(benchmark::State& state) {
  const DotShape s = dot_shape(state);
  auto x = values(s.rows * s.x_stride, "x");
  std::vector<float> out(s.rows * s.out_stride), expected(out.size());
  ref::dot_interaction_forward(s, x.data(), expected.data());
  auto run = [&] { dot_interaction_forward(s, x.data(), out.data()); };
  run();
  measure(state, close(out, expected, 1e-4), 0, 2.0 * static_cast<double>(s.rows * s.pairs() * s.dim), run);
}
BENCHMARK(dot_interaction_forward_cpu)->ArgName("dim")->Arg(16)->Arg(64);

void dot_interaction_gradient_cpu(benchmark::State& state) {
  const DotShape s = dot_shape(state);
  auto x = values(s.rows * s.x_stride, "x"), dout = values(s.rows * s.out_stride, "dout");
  std::vector<float> dx(x.size()), expected(x.size());
  ref::dot_interaction_gradient(s, x.data(), dout.data(), expected.data());
  auto run = [&] { dot_interaction_gradient(s, x.data(), dout.data(), dx.data()); };
  run();
  measure(state, close(dx, expected, 1e-4), 0, 4.0 * static_cast<double>(s.rows * s.pairs() * s.dim), run);
}
BENCHMARK(dot_interaction_gradient_cpu)->ArgName("dim")->Arg(16)->Arg(64);

constexpr size_t kWidth = kFeatures * 16, kCount = kRows * kWidth;
constexpr double kArray = kCount * sizeof(float);

void cross_layer_forward_cpu(benchmark::State& state) {
  auto x0 = values(kCount, "x0"), x = values(kCount, "x"), u = values(kCount, "u"), bias = values(kWidth, "bias");
  std::vector<float> y(kCount), expected(kCount), expected_u = u;
  ref::cross_layer_forward(kRows, kWidth, x0.data(), x.data(), bias.data(), expected_u.data(), expected.data());
  auto run = [&] { cross_layer_forward(kRows, kWidth, x0.data(), x.data(), bias.data(), u.data(), y.data()); };
  run();
  measure(state, close(y, expected, 1e-5) && close(u, expected_u, 1e-5), 5 * kArray, 0, run);
}
BENCHMARK(cross_layer_forward_cpu);

void cross_layer_gradient_cpu(benchmark::State& state) {
  auto x0 = values(kCount, "x0"), u = values(kCount, "u"), dy = values(kCount, "dy"), dx0 = values(kCount, "dx0");
  std::vector<float> du(kCount), dbias(kWidth), expected_du(kCount), expected_dx0 = dx0, expected_dbias(kWidth);
  ref::cross_layer_gradient(kRows, kWidth, x0.data(), u.data(), dy.data(), expected_du.data(), expected_dx0.data(),
                            expected_dbias.data());
  auto run = [&] {
    cross_layer_gradient(kRows, kWidth, x0.data(), u.data(), dy.data(), du.data(), dx0.data(), dbias.data());
  };
  run();
  const bool ok = close(du, expected_du, 1e-5) && close(dx0, expected_dx0, 1e-5) && close(dbias, expected_dbias, 1e-3);
  measure(state, ok, 6 * kArray, 0, run);
}
BENCHMARK(cross_layer_gradient_cpu);

}  // namespace
}  // namespace freshet::kernels
