#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

struct Product {
  MatmulShape shape;
  bool a_transposed = false, b_transposed = false;
};

class Matmul : public testing::TestWithParam<Product> {
 protected:
  static constexpr size_t kPadding = 3;  // rows lie further apart than they are long
  const MatmulShape s_ = GetParam().shape;
  const size_t a_stride_ = (GetParam().a_transposed ? s_.m : s_.k) + kPadding;
  const size_t b_stride_ = (GetParam().b_transposed ? s_.k : s_.n) + kPadding;
  const size_t c_stride_ = s_.n + kPadding;
  const std::vector<float> a_ = random_values((GetParam().a_transposed ? s_.k : s_.m) * a_stride_, "a");
  const std::vector<float> b_ = random_values((GetParam().b_transposed ? s_.n : s_.k) * b_stride_, "b");
  const std::vector<float> c_ = random_values(s_.m * c_stride_, "c");

  std::vector<float> product(auto function, size_t shift = 0) const {
    std::vector<float> a(shift), b(shift), c(shift);
    a.insert(a.end(), a_.begin(), a_.end());
    b.insert(b.end(), b_.begin(), b_.end());
    c.insert(c.end(), c_.begin(), c_.end());
    function(s_, Matrix{a.data() + shift, a_stride_, GetParam().a_transposed},
             Matrix{b.data() + shift, b_stride_, GetParam().b_transposed}, c.data() + shift, c_stride_);
    return {c.begin() + static_cast<ptrdiff_t>(shift), c.end()};
  }
};

void checked(const MatmulShape& s, const Matrix& a, const Matrix& b, float* c, size_t stride) {
  EXPECT_TRUE(matmul(s, a, b, c, stride).is_ok());
}

TEST_P(Matmul, AgreesWithTheReferenceAndKeepsWhatLiesBeside) {
  auto c = product(checked), expected = product(ref::matmul);
  // As in the test of linear.h: n^1.5 for n products of random signs below 1.
  expect_close(c, expected, (2 * std::pow(static_cast<double>(s_.k), 1.5) + 2) * kRounding);
  for (size_t i = 0; i < c.size(); ++i) {
    if (i % c_stride_ >= s_.n) {
      ASSERT_EQ(c[i], c_[i]) << "element " << i << " beside the product";
    }
  }
}

TEST_P(Matmul, GivesTheSameBitsOnAnyThreadAndAtAnyAddress) {
  auto expected = product(checked);
  for (size_t threads : {1, 2, 3, 4, 8}) {
    std::vector<std::vector<float>> results(threads);
    std::vector<std::thread> running;
    for (size_t t = 0; t < threads; ++t) running.emplace_back([&, t] { results[t] = product(checked, t); });
    for (auto& thread : running) thread.join();
    for (const auto& result : results) expect_same_bits(result, expected);
  }
}

// The products of a small GPT and of odd sizes, in all layouts, overwriting and accumulating.
INSTANTIATE_TEST_SUITE_P(Shapes, Matmul,
                         testing::Values(Product{{1, 1, 1}}, Product{{64, 64, 64}, false, true},
                                         Product{{64, 64, 64, true}, true, false}, Product{{37, 48, 129}},
                                         Product{{37, 48, 129, true}, false, true}, Product{{128, 192, 384}},
                                         Product{{128, 192, 384}, false, true}, Product{{192, 128, 256}, true, false},
                                         Product{{192, 130, 96, true}, true, false}, Product{{33, 17, 5, true}, true},
                                         Product{{64, 65, 128}, false, true}, Product{{64, 128, 65, true}},
                                         Product{{70, 130, 770}, false, true},
                                         Product{{256, 192, 768, true}, false, true}));

TEST(MatmulEdges, NothingToSumIsZeroOrWhatWasThere) {
  std::vector<float> c = {1, 2, 3, 4};
  ASSERT_TRUE(matmul({2, 1, 0, true}, Matrix{nullptr, 1}, Matrix{nullptr, 1}, c.data(), 2).is_ok());
  EXPECT_EQ(c, (std::vector<float>{1, 2, 3, 4}));
  ASSERT_TRUE(matmul({2, 1, 0}, Matrix{nullptr, 1}, Matrix{nullptr, 1}, c.data(), 2).is_ok());
  EXPECT_EQ(c, (std::vector<float>{0, 2, 0, 4}));
}

}  // namespace
}  // namespace freshet::kernels
