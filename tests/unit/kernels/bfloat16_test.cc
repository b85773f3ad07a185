#include "kernels/bfloat16.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "kernels/matmul.h"
#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

std::vector<Bfloat16> rounded(const std::vector<float>& values) {
  std::vector<Bfloat16> halves(values.size());
  to_bfloat16(1, values.size(), values.size(), values.data(), halves.data());
  return halves;
}

TEST(Bfloat16, RoundsAsTheReferenceDoes) {
  auto values = random_values(1000, "values", 100);
  // Ties in both directions, the border to infinity, subnormal numbers, zeros, infinities, NaN with a low payload.
  for (uint32_t bits : {0x3F808000U, 0x3F818000U, 0x7F7F8000U, 0x7F7F7FFFU, 0x00000001U, 0x00008000U, 0x80000000U, 0U,
                        0x7F800000U, 0xFF800000U, 0x7F800001U, 0xFFFFFFFFU}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  const size_t stride = 23, rows = values.size() / stride;
  for (size_t columns : {1, 16, 17, 23}) {
    std::vector<Bfloat16> a(values.size(), 7), b(a);
    to_bfloat16(rows, columns, stride, values.data(), a.data());
    ref::to_bfloat16(rows, columns, stride, values.data(), b.data());
    EXPECT_EQ(a, b);
  }
  std::vector<Bfloat16> expected(values.size());
  ref::to_bfloat16(1, values.size(), values.size(), values.data(), expected.data());
  EXPECT_EQ(rounded(values), expected);
}

struct Product {
  MatmulShape shape;
  bool a_transposed = false, b_transposed = false;
};

class Matmul16 : public testing::TestWithParam<Product> {};

// Against the product of the rounded operands in double: only sums round, as in float.
TEST_P(Matmul16, AgreesWithTheReferenceOnAnyThread) {
  const MatmulShape s = GetParam().shape;
  const bool at = GetParam().a_transposed, bt = GetParam().b_transposed;
  const size_t a_stride = (at ? s.m : s.k) + 3, b_stride = (bt ? s.k : s.n) + 5, c_stride = s.n + 2;
  auto a = rounded(random_values((at ? s.k : s.m) * a_stride, "a"));
  auto b = rounded(random_values((bt ? s.n : s.k) * b_stride, "b"));
  std::vector<float> a_exact, b_exact;
  for (Bfloat16 value : a) a_exact.push_back(to_float(value));
  for (Bfloat16 value : b) b_exact.push_back(to_float(value));
  auto expected = random_values(s.m * c_stride, "c");
  const auto before = expected;
  ref::matmul(s, Matrix{a_exact.data(), a_stride, at}, Matrix{b_exact.data(), b_stride, bt}, expected.data(), c_stride);

  auto product = [&](size_t shift) {
    auto a_moved = a, b_moved = b;
    a_moved.insert(a_moved.begin(), shift, Bfloat16{0});
    b_moved.insert(b_moved.begin(), shift, Bfloat16{0});
    auto c = before;
    Status status = matmul(s, Matrix16{a_moved.data() + shift, a_stride, at},
                           Matrix16{b_moved.data() + shift, b_stride, bt}, c.data(), c_stride);
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    return c;
  };
  auto c = product(0);
  expect_close(c, expected, (2 * std::pow(static_cast<double>(s.k), 1.5) + 2) * kRounding);
  for (size_t threads : {1, 2, 3, 4, 8}) {
    std::vector<std::vector<float>> results(threads);
    std::vector<std::thread> running;
    for (size_t t = 0; t < threads; ++t) running.emplace_back([&, t] { results[t] = product(t); });
    for (auto& thread : running) thread.join();
    for (const auto& result : results) expect_same_bits(result, c);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Matmul16,
                         testing::Values(Product{{1, 1, 1}}, Product{{64, 64, 64}, false, true}, Product{{37, 48, 129}},
                                         Product{{37, 48, 129, true}, false, true},
                                         Product{{192, 128, 256}, true, false}, Product{{33, 17, 5, true}, true},
                                         Product{{64, 128, 65, true}}, Product{{256, 192, 384}, false, true}));

}  // namespace
}  // namespace freshet::kernels
