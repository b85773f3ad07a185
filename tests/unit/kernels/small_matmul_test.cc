#include "kernels/cpu/small_matmul.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

constexpr size_t kPadding = 3;  // rows lie further apart than they are long

struct Case {
  MatmulShape shape;
  bool a_transposed = false;
};

class SmallMatmul : public testing::TestWithParam<Case> {
 protected:
  const MatmulShape s_ = GetParam().shape;
  const bool a_transposed_ = GetParam().a_transposed;
  const size_t a_stride_ = (a_transposed_ ? s_.m : s_.k) + kPadding;
  const size_t b_stride_ = s_.n + kPadding, c_stride_ = s_.n + kPadding;
  const std::vector<float> a_ = random_values((a_transposed_ ? s_.k : s_.m) * a_stride_, "a");
  const std::vector<float> b_ = random_values(s_.k * b_stride_, "b");
  const std::vector<float> c_ = random_values(s_.m * c_stride_, "c");
};

TEST_P(SmallMatmul, AgreesWithTheReferenceAndKeepsWhatLiesBeside) {
  auto c = c_, expected = c_;
  small_matmul(s_, {a_.data(), a_stride_, a_transposed_}, b_.data(), b_stride_, c.data(), c_stride_);
  ref::matmul(s_, {a_.data(), a_stride_, a_transposed_}, {b_.data(), b_stride_}, expected.data(), c_stride_);
  // As in the test of matmul.h.
  expect_close(c, expected, (2 * std::pow(static_cast<double>(s_.k), 1.5) + 2) * kRounding);
  for (size_t i = 0; i < c.size(); ++i) {
    if (i % c_stride_ >= s_.n) {
      ASSERT_EQ(c[i], c_[i]) << "element " << i << " beside the product";
    }
  }
}

// Products and sums are rounded one by one, in ascending order: exactly this loop.
TEST_P(SmallMatmul, AnElementsBitsKnowOfNoOthers) {
  auto c = c_, expected = c_;
  small_matmul(s_, {a_.data(), a_stride_, a_transposed_}, b_.data(), b_stride_, c.data(), c_stride_);
  for (size_t i = 0; i < s_.m; ++i) {
    for (size_t j = 0; j < s_.n; ++j) {
      float sum = s_.accumulate ? c_[i * c_stride_ + j] : 0;
      for (size_t p = 0; p < s_.k; ++p) {
        sum += a_[a_transposed_ ? p * a_stride_ + i : i * a_stride_ + p] * b_[p * b_stride_ + j];
      }
      expected[i * c_stride_ + j] = sum;
    }
  }
  expect_same_bits(c, expected);
}

INSTANTIATE_TEST_SUITE_P(Shapes, SmallMatmul,
                         testing::Values(Case{{1, 1, 1}}, Case{{16, 64, 32}}, Case{{64, 32, 64, true}, true},
                                         Case{{8, 16, 0}}, Case{{7, 15, 33}}, Case{{9, 17, 5, true}},
                                         Case{{33, 50, 64}, true}, Case{{5, 3, 129, true}, true}));

TEST(Transpose, TurnsWholeAndRaggedBlocks) {
  for (auto [rows, columns] : {std::pair<size_t, size_t>{1, 1}, {16, 16}, {64, 32}, {17, 31}, {40, 7}, {3, 48}}) {
    const size_t from_stride = columns + kPadding, to_stride = rows + kPadding;
    const auto from = random_values(rows * from_stride, "from");
    std::vector<float> to(columns * to_stride, 2.0F);
    transpose(rows, columns, from.data(), from_stride, to.data(), to_stride);
    for (size_t c = 0; c < columns; ++c) {
      for (size_t r = 0; r < to_stride; ++r) {
        ASSERT_EQ(to[c * to_stride + r], r < rows ? from[r * from_stride + c] : 2.0F) << rows << " x " << columns;
      }
    }
  }
}

}  // namespace
}  // namespace freshet::kernels
