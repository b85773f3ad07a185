// Times the kernels of a transformer on the shapes of GPT-2 124M with 256 tokens. Each result is compared with the
// reference before it is timed. Counters: FLOP/s of products, bytes/s of what is bound by memory.
#include <benchmark/benchmark.h>

#include "bench/kernels/support.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/small_matmul.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

namespace freshet::kernels {
namespace {

void matmul_cpu(benchmark::State& state) {
  MatmulShape s{static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1)),
                static_cast<size_t>(state.range(2))};
  const bool at = state.range(3) != 0, bt = state.range(4) != 0;
  auto a = values(s.m * s.k, "a"), b = values(s.k * s.n, "b");
  std::vector<float> c(s.m * s.n), expected(c.size());
  Matrix left{a.data(), at ? s.m : s.k, at}, right{b.data(), bt ? s.k : s.n, bt};
  bool ok = matmul(s, left, right, c.data(), s.n).is_ok();
  ref::matmul(s, left, right, expected.data(), s.n);
  measure(state, ok && close(c, expected, 1e-3), 0, 2.0 * static_cast<double>(s.m * s.n * s.k),
          [&] { (void)matmul(s, left, right, c.data(), s.n); });
}
BENCHMARK(matmul_cpu)
    ->ArgNames({"m", "n", "k", "at", "bt"})
    ->Args({256, 192, 768, 0, 0})
    ->Args({256, 192, 768, 0, 1})
    ->Args({192, 768, 256, 1, 0})
    ->Args({64, 64, 64, 0, 1});

void matmul_bfloat16_cpu(benchmark::State& state) {
  MatmulShape s{static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1)),
                static_cast<size_t>(state.range(2))};
  const bool at = state.range(3) != 0, bt = state.range(4) != 0;
  auto a = values(s.m * s.k, "a"), b = values(s.k * s.n, "b");
  std::vector<Bfloat16> a16(a.size()), b16(b.size());
  to_bfloat16(1, a.size(), a.size(), a.data(), a16.data());
  to_bfloat16(1, b.size(), b.size(), b.data(), b16.data());
  std::vector<float> c(s.m * s.n), expected(c.size());
  Matrix16 left{a16.data(), at ? s.m : s.k, at}, right{b16.data(), bt ? s.k : s.n, bt};
  ref::matmul(s, {a.data(), left.stride, at}, {b.data(), right.stride, bt}, expected.data(), s.n);
  Status status = matmul(s, left, right, c.data(), s.n);
  if (status.code() == Code::kUnavailable) {
    state.SkipWithError("not on this machine");
    return;
  }
  // Operands round by 2^-9 at most, and a thousand such errors add up.
  measure(state, status.is_ok() && close(c, expected, 0.5), 0, 2.0 * static_cast<double>(s.m * s.n * s.k),
          [&] { (void)matmul(s, left, right, c.data(), s.n); });
}
BENCHMARK(matmul_bfloat16_cpu)
    ->ArgNames({"m", "n", "k", "at", "bt"})
    ->Args({256, 192, 768, 0, 0})
    ->Args({256, 192, 768, 0, 1})
    ->Args({192, 768, 256, 1, 0});

constexpr size_t kRows = 256, kWidth = 768, kCount = kRows * kWidth;
constexpr double kArray = kCount * sizeof(float);

void to_bfloat16_cpu(benchmark::State& state) {
  auto x = values(kCount, "x");
  std::vector<Bfloat16> y(kCount), expected(kCount);
  ref::to_bfloat16(1, kCount, kCount, x.data(), expected.data());
  auto run = [&] { to_bfloat16(1, kCount, kCount, x.data(), y.data()); };
  run();
  measure(state, y == expected, 1.5 * kArray, 0, run);
}
BENCHMARK(to_bfloat16_cpu);

void layer_norm_forward_cpu(benchmark::State& state) {
  NormShape s{kRows, kWidth, 1e-5F};
  auto x = values(kCount, "x"), add = values(kCount, "add"), weight = values(kWidth, "w"), bias = values(kWidth, "b");
  std::vector<float> sum(kCount), y(kCount), expected(kCount), mean(kRows), scale(kRows);
  ref::layer_norm_forward(s, x.data(), add.data(), weight.data(), bias.data(), sum.data(), expected.data(), mean.data(),
                          scale.data());
  auto run = [&] {
    layer_norm_forward(s, x.data(), add.data(), weight.data(), bias.data(), sum.data(), y.data(), mean.data(),
                       scale.data());
  };
  run();
  measure(state, close(y, expected, 1e-5), 4 * kArray, 0, run);
}
BENCHMARK(layer_norm_forward_cpu);

void layer_norm_gradient_cpu(benchmark::State& state) {
  NormShape s{kRows, kWidth, 1e-5F};
  auto x = values(kCount, "x"), dy = values(kCount, "dy"), weight = values(kWidth, "w"), bias = values(kWidth, "b");
  std::vector<float> y(kCount), dx(kCount), expected(kCount), mean(kRows), scale(kRows), dw(kWidth), db(kWidth);
  layer_norm_forward(s, x.data(), nullptr, weight.data(), bias.data(), nullptr, y.data(), mean.data(), scale.data());
  ref::layer_norm_gradient(s, x.data(), weight.data(), dy.data(), expected.data(), dw.data(), db.data());
  auto run = [&] {
    layer_norm_gradient(s, x.data(), weight.data(), mean.data(), scale.data(), dy.data(), dx.data());
    layer_norm_weight_gradient(s, 0, kWidth, x.data(), mean.data(), scale.data(), dy.data(), dw.data(), db.data());
  };
  run();
  measure(state, close(dx, expected, 1e-5), 6 * kArray, 0, run);
}
BENCHMARK(layer_norm_gradient_cpu);

void rms_norm_forward_cpu(benchmark::State& state) {
  NormShape s{kRows, kWidth, 1e-5F};
  auto x = values(kCount, "x"), weight = values(kWidth, "w");
  std::vector<float> y(kCount), expected(kCount), scale(kRows);
  ref::rms_norm_forward(s, x.data(), nullptr, weight.data(), nullptr, expected.data(), scale.data());
  auto run = [&] { rms_norm_forward(s, x.data(), nullptr, weight.data(), nullptr, y.data(), scale.data()); };
  run();
  measure(state, close(y, expected, 1e-5), 2 * kArray, 0, run);
}
BENCHMARK(rms_norm_forward_cpu);

void rms_norm_gradient_cpu(benchmark::State& state) {
  NormShape s{kRows, kWidth, 1e-5F};
  auto x = values(kCount, "x"), dy = values(kCount, "dy"), weight = values(kWidth, "w");
  std::vector<float> y(kCount), dx(kCount), expected(kCount), scale(kRows), dw(kWidth);
  rms_norm_forward(s, x.data(), nullptr, weight.data(), nullptr, y.data(), scale.data());
  ref::rms_norm_gradient(s, x.data(), weight.data(), dy.data(), expected.data(), dw.data());
  auto run = [&] {
    rms_norm_gradient(s, x.data(), weight.data(), scale.data(), dy.data(), dx.data());
    rms_norm_weight_gradient(s, 0, kWidth, x.data(), scale.data(), dy.data(), dw.data());
  };
  run();
  measure(state, close(dx, expected, 1e-5), 6 * kArray, 0, run);
}
BENCHMARK(rms_norm_gradient_cpu);

void bias_gelu_forward_cpu(benchmark::State& state) {
  Tile t{kRows, kWidth, kWidth};
  auto z = values(kCount, "z"), bias = std::vector<float>(kWidth);
  std::vector<float> y(kCount), expected(kCount);
  ref::bias_gelu_forward(t, bias.data(), z.data(), expected.data());
  auto run = [&] { bias_gelu_forward(t, bias.data(), z.data(), y.data()); };
  run();
  measure(state, close(y, expected, 1e-5), 3 * kArray, 0, run);
}
BENCHMARK(bias_gelu_forward_cpu);

void gelu_gradient_cpu(benchmark::State& state) {
  Tile t{kRows, kWidth, kWidth};
  auto z = values(kCount, "z"), dy = values(kCount, "dy"), expected = dy;
  std::vector<float> y(kCount);
  ref::gelu_gradient(t, z.data(), expected.data(), y.data());
  gelu_gradient(t, z.data(), dy.data(), y.data());
  measure(state, close(dy, expected, 1e-5), 4 * kArray, 0, [&] { gelu_gradient(t, z.data(), dy.data(), y.data()); });
}
BENCHMARK(gelu_gradient_cpu);

void swiglu_forward_cpu(benchmark::State& state) {
  Tile t{kRows, kWidth, kWidth};
  auto gate = values(kCount, "gate"), up = values(kCount, "up");
  std::vector<float> y(kCount), expected(kCount);
  ref::swiglu_forward(t, gate.data(), up.data(), expected.data(), kWidth);
  auto run = [&] { swiglu_forward(t, gate.data(), up.data(), y.data(), kWidth); };
  run();
  measure(state, close(y, expected, 1e-5), 3 * kArray, 0, run);
}
BENCHMARK(swiglu_forward_cpu);

void swiglu_gradient_cpu(benchmark::State& state) {
  Tile t{kRows, kWidth, kWidth};
  auto gate = values(kCount, "gate"), up = values(kCount, "up"), dy = values(kCount, "dy");
  std::vector<float> y(kCount), dgate(kCount), dup(kCount), expected(kCount);
  ref::swiglu_gradient(t, gate.data(), up.data(), dy.data(), expected.data(), dup.data(), y.data(), kWidth);
  auto run = [&] { swiglu_gradient(t, gate.data(), up.data(), dy.data(), dgate.data(), dup.data(), y.data(), kWidth); };
  run();
  measure(state, close(dgate, expected, 1e-5), 6 * kArray, 0, run);
}
BENCHMARK(swiglu_gradient_cpu);

void rope_forward_cpu(benchmark::State& state) {
  RopeShape s{kRows, 12, 64, kWidth};
  auto x = values(kCount, "x"), expected = x, y = x;
  auto table = rope_table(kRows, 64, 10000);
  ref::rope(s, 10000, 0, false, expected.data());
  rope_forward(s, table.data(), 0, y.data());
  measure(state, close(y, expected, 1e-5), 2 * kArray, 0, [&] { rope_forward(s, table.data(), 0, y.data()); });
}
BENCHMARK(rope_forward_cpu);

void dropout_cpu(benchmark::State& state) {
  Dropout d{0.1F, 1, 2};
  auto x = values(kCount, "x"), expected = x;
  ref::dropout(d, 0, kCount, expected.data());
  dropout(d, 0, kCount, x.data());
  measure(state, close(x, expected, 0), 2 * kArray, 0, [&] { dropout(d, 0, kCount, x.data()); });
}
BENCHMARK(dropout_cpu);

// Both passes over one block of a vocabulary.
void cross_entropy_cpu(benchmark::State& state) {
  constexpr size_t kColumns = 1024;
  LogitBlock block{kRows, 0, kColumns, kColumns};
  auto logits = values(kRows * kColumns, "logits"), again = logits;
  std::vector<float> expected(logits.size()), logit(kRows), log_sum(kRows);
  std::vector<int32_t> target(kRows, 7);
  std::vector<SoftmaxPart> parts(kRows);
  ref::cross_entropy(kRows, kColumns, logits.data(), target.data(), 1, expected.data());
  auto run = [&] {
    softmax_parts(block, again.data(), target.data(), parts.data(), logit.data());
    benchmark::DoNotOptimize(join_softmax_parts(kRows, 1, parts.data(), target.data(), logit.data(), log_sum.data()));
    cross_entropy_gradient(block, target.data(), log_sum.data(), 1, again.data());
  };
  run();
  measure(state, close(again, expected, 1e-5), 3.0 * kRows * kColumns * sizeof(float), 0, run);
}
BENCHMARK(cross_entropy_cpu);

// The products of one tile of attention: weights times values, and the same transposed.
void small_matmul_cpu(benchmark::State& state) {
  MatmulShape s{static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1)),
                static_cast<size_t>(state.range(2))};
  const bool at = state.range(3) != 0;
  auto a = values(s.m * s.k, "a"), b = values(s.k * s.n, "b");
  std::vector<float> c(s.m * s.n), expected(c.size());
  Matrix left{a.data(), at ? s.m : s.k, at};
  ref::matmul(s, left, {b.data(), s.n}, expected.data(), s.n);
  auto run = [&] { small_matmul(s, left, b.data(), s.n, c.data(), s.n); };
  run();
  measure(state, close(c, expected, 1e-4), 0, 2.0 * static_cast<double>(s.m * s.n * s.k), run);
}
BENCHMARK(small_matmul_cpu)
    ->ArgNames({"m", "n", "k", "at"})
    ->Args({64, 64, 64, 0})
    ->Args({64, 64, 64, 1})
    ->Args({64, 128, 64, 0});

// One head, forward and backward; operations of the visible half only.
void attention_cpu(benchmark::State& state) {
  auto length = static_cast<size_t>(state.range(0)), size = static_cast<size_t>(state.range(1));
  AttentionShape s{length, 1, size, 3 * size, size};
  auto qkv = values(length * s.stride, "qkv"), dout = values(length * size, "dout");
  std::vector<float> out(length * size), log_sum(length), dqkv(qkv.size()), expected(qkv.size());
  std::vector<float> scratch(attention_scratch(s));
  const float *q = qkv.data(), *k = q + size, *v = k + size;
  float* d = dqkv.data();
  auto run = [&] {
    attention_forward(s, q, k, v, out.data(), log_sum.data(), scratch.data());
    attention_gradient(s, q, k, v, out.data(), log_sum.data(), dout.data(), d, d + size, d + 2 * size, scratch.data());
  };
  run();
  float* e = expected.data();
  ref::attention_gradient(s, q, k, v, dout.data(), e, e + size, e + 2 * size);
  measure(state, close(dqkv, expected, 1e-3), 0, 7.0 * static_cast<double>(length * length * size), run);
}
BENCHMARK(attention_cpu)->ArgNames({"length", "size"})->Args({64, 64})->Args({1024, 64})->Args({256, 128});

}  // namespace
}  // namespace freshet::kernels
