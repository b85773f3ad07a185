#include "kernels/attention.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

// Tokens hold [q heads of the group][k][v] and something else behind; that must not be touched.
struct Inputs {
  explicit Inputs(const AttentionShape& shape)
      : s(shape),
        qkv(random_values(s.length * s.stride, "qkv", 3)),
        dout(random_values(s.length * s.out_stride, "dout")) {}

  const AttentionShape s;
  std::vector<float> qkv, dout;
  size_t k() const { return s.group * s.size; }
  size_t v() const { return k() + s.size; }
};

AttentionShape shape_of(size_t length, size_t group, size_t size) {
  return {length, group, size, (group + 2) * size + 5, group * size + 3};
}

struct Result {
  std::vector<float> out, log_sum, dqkv;
};

Result run(const Inputs& in) {
  Result r{random_values(in.dout.size(), "before"), std::vector<float>(in.s.group * in.s.length),
           random_values(in.qkv.size(), "before")};
  std::vector<float> scratch(attention_scratch(in.s), std::nanf(""));
  const float* x = in.qkv.data();
  attention_forward(in.s, x, x + in.k(), x + in.v(), r.out.data(), r.log_sum.data(), scratch.data());
  std::fill(scratch.begin(), scratch.end(), std::nanf(""));
  attention_gradient(in.s, x, x + in.k(), x + in.v(), r.out.data(), r.log_sum.data(), in.dout.data(), r.dqkv.data(),
                     r.dqkv.data() + in.k(), r.dqkv.data() + in.v(), scratch.data());
  return r;
}

Result run_ref(const Inputs& in) {
  Result r{random_values(in.dout.size(), "before"), std::vector<float>(in.s.group * in.s.length),
           random_values(in.qkv.size(), "before")};
  const float* x = in.qkv.data();
  ref::attention_forward(in.s, x, x + in.k(), x + in.v(), r.out.data(), r.log_sum.data());
  ref::attention_gradient(in.s, x, x + in.k(), x + in.v(), in.dout.data(), r.dqkv.data(), r.dqkv.data() + in.k(),
                          r.dqkv.data() + in.v());
  return r;
}

class Attention : public testing::TestWithParam<AttentionShape> {
 protected:
  const Inputs in_{GetParam()};
};

// What lies beside the heads is compared too: both start from the same values.
TEST_P(Attention, AgreesWithTheReference) {
  auto r = run(in_), expected = run_ref(in_);
  // Scores are sums of `size` products up to 9 times 1 / sqrt(size), so up to about 9 sqrt(size) with errors of
  // size roundings of that; an error e of a score changes a probability by the factor 1 + e.
  auto size = static_cast<double>(in_.s.size), length = static_cast<double>(in_.s.length);
  double tolerance = (9 * size * std::sqrt(size) + length) * 4 * kRounding;
  expect_close(r.out, expected.out, tolerance);
  expect_close(r.log_sum, expected.log_sum, tolerance);
  expect_close(r.dqkv, expected.dqkv, tolerance * 16 * static_cast<double>(in_.s.group) * std::sqrt(size));
}

TEST_P(Attention, GivesTheSameBitsTwice) {
  auto a = run(in_), b = run(in_);
  expect_same_bits(a.out, b.out);
  expect_same_bits(a.dqkv, b.dqkv);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         testing::Values(shape_of(1, 1, 4), shape_of(5, 1, 3), shape_of(64, 1, 64), shape_of(65, 2, 16),
                                         shape_of(130, 1, 32), shape_of(63, 4, 8), shape_of(200, 3, 128),
                                         shape_of(17, 1, 64), shape_of(129, 2, 33)));

// A later token changes nothing before it.
TEST(AttentionEdges, IsCausal) {
  Inputs a(shape_of(100, 2, 16)), b = a;
  for (size_t i = 80 * a.s.stride; i < b.qkv.size(); ++i) b.qkv[i] += 1;
  auto x = run(a), y = run(b);
  x.out.resize(80 * a.s.out_stride);
  y.out.resize(80 * a.s.out_stride);
  expect_same_bits(x.out, y.out);
}

TEST(AttentionEdges, SurvivesLargeScores) {
  Inputs in(shape_of(70, 1, 16));
  for (float& value : in.qkv) value *= 30;
  auto r = run(in), expected = run_ref(in);
  for (float value : r.out) ASSERT_TRUE(std::isfinite(value));
  expect_close(r.out, expected.out, 1.0);
}

TEST(AttentionEdges, GradientsAgreeWithFiniteDifferences) {
  Inputs in(shape_of(67, 2, 4));
  for (float& value : in.qkv) value /= 3;
  auto r = run(in);
  auto value = [&] {
    auto now = run(in);
    double sum = 0;
    for (size_t t = 0; t < in.s.length; ++t) {
      for (size_t i = 0; i < in.s.group * in.s.size; ++i) {
        size_t at = t * in.s.out_stride + i;
        sum += static_cast<double>(now.out[at]) * static_cast<double>(in.dout[at]);
      }
    }
    return sum;
  };
  // Tokens on both sides of a tile's edge.
  for (size_t token : {0, 1, 40, 63, 64, 66}) {
    for (size_t i = 0; i < (in.s.group + 2) * in.s.size; ++i) {
      size_t at = token * in.s.stride + i;
      const float old = in.qkv[at];
      in.qkv[at] = old + 0x1p-6F;
      double above = value();
      in.qkv[at] = old - 0x1p-6F;
      double below = value();
      in.qkv[at] = old;
      EXPECT_NEAR((above - below) * 32, static_cast<double>(r.dqkv[at]), 2e-3) << "token " << token << " element " << i;
    }
  }
}

}  // namespace
}  // namespace freshet::kernels
