#include "kernels/cuda/cross_entropy.h"

#include <cmath>
#include <numeric>
#include <tuple>

#include "kernels/cross_entropy.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

// rows, columns, stride
class CrossEntropyCuda : public CudaTest, public testing::WithParamInterface<std::tuple<int, int, int>> {
 protected:
  const size_t rows_ = static_cast<size_t>(std::get<0>(GetParam()));
  const size_t columns_ = static_cast<size_t>(std::get<1>(GetParam()));
  const size_t stride_ = static_cast<size_t>(std::get<2>(GetParam()));
  const LogitChunk chunk_{rows_, columns_, stride_};
  const float scale_ = 0.125F;

  // Between the rows lies NaN. Each row is somewhere else and has an outlier, of which more than half of the largest
  // rows' sum is made, somewhere else.
  std::vector<float> logits() const {
    std::vector<float> logits(rows_ * stride_, std::numeric_limits<float>::quiet_NaN());
    const auto random = random_values(rows_ * columns_, "logits", 4);
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < columns_; ++c) {
        logits[r * stride_ + c] = random[r * columns_ + c] + static_cast<float>(r % 7) * 10 - 30;
      }
      logits[r * stride_ + r * 31 % columns_] += 12;
    }
    return widened(narrowed(logits));
  }
  // The first, the last, and one left out.
  std::vector<int32_t> targets() const {
    std::vector<int32_t> targets(rows_);
    for (size_t r = 0; r < rows_; ++r) targets[r] = static_cast<int32_t>(r * 17 % columns_);
    targets.front() = static_cast<int32_t>(columns_ - 1);
    if (rows_ > 2) targets[2] = -1;
    return targets;
  }
};

TEST_P(CrossEntropyCuda, AgreesWithTheReference) {
  const auto x = logits();
  const auto target = targets();
  std::vector<float> losses(rows_), gradient(rows_ * stride_, 0.0F), row_gradient(columns_);
  for (size_t r = 0; r < rows_; ++r) {
    losses[r] = static_cast<float>(
        kernels::ref::cross_entropy(1, columns_, x.data() + r * stride_, &target[r], scale_, row_gradient.data()));
    std::copy(row_gradient.begin(), row_gradient.end(), gradient.begin() + static_cast<long>(r * stride_));
  }
  Array<int32_t> targets_in(target);
  Array<float> scale(std::vector<float>{scale_}), losses_out(rows_), losses_again(rows_);
  std::vector<Bfloat16> first;
  for (int time = 0; time < 2; ++time) {
    Array<Bfloat16> logits_in(narrowed(x));
    EXPECT_OK(cross_entropy_forward(chunk_, logits_in.data(), targets_in.data(), losses_out.data(), stream()));
    EXPECT_OK(cross_entropy_backward(chunk_, scale.data(), targets_in.data(), logits_in.data(), losses_again.data(),
                                     stream()));
    expect_done();
    expect_same_bits(losses_again.values(), losses_out.values());
    // e^x is off by 2^-22 and what comes with logits of up to 64; a thread adds up to 16 terms of each of its vectors
    // and the warps' sums in a tree: 64 roundings. So a sum is off by 2^-16 of itself, its logarithm by 2^-16.
    expect_close(losses_out.values(), losses, 0x1p-16);
    const auto actual = widened(logits_in.values());
    for (size_t i = 0; i < actual.size(); ++i) {
      const auto v = static_cast<double>(gradient[i]);
      // Of the target the probability is taken from 1.
      ASSERT_NEAR(static_cast<double>(actual[i]), v, std::abs(v) * kRounding16 + static_cast<double>(scale_) * 0x1p-16)
          << "row " << i / stride_ << ", column " << i % stride_;
    }
    if (time == 0) first = logits_in.values();
    EXPECT_EQ(logits_in.values(), first);
  }
}

// Less than a vector; one block of few threads and of many; a row that one multiprocessor takes twice, once, and that
// does not fit.
INSTANTIATE_TEST_SUITE_P(Shapes, CrossEntropyCuda,
                         testing::Values(std::tuple{1, 1, 8}, std::tuple{5, 7, 8}, std::tuple{5, 65, 96},
                                         std::tuple{257, 264, 264}, std::tuple{37, 1000, 1000},
                                         std::tuple{3, 4096, 4096}, std::tuple{3, 50257, 50304},
                                         std::tuple{3, 60001, 60008}, std::tuple{3, 128256, 128256}));

using CrossEntropyChecksCuda = CudaTest;

TEST_F(CrossEntropyChecksCuda, GradientsAgreeWithFiniteDifferences) {
  const LogitChunk chunk{1, 5, 8};
  const std::vector<float> x{0.5F, -1, 2, 0.25F, 1.5F};
  Array<int32_t> target(std::vector<int32_t>{3});
  Array<float> scale(std::vector<float>{1}), losses(size_t{1});
  auto loss = [&](const std::vector<float>& at) {
    auto row = at;
    row.resize(8);
    Array<Bfloat16> logits(narrowed(row));
    EXPECT_OK(cross_entropy_forward(chunk, logits.data(), target.data(), losses.data(), stream()));
    expect_done();
    return static_cast<double>(losses.values()[0]);
  };
  auto row = x;
  row.resize(8);
  Array<Bfloat16> logits(narrowed(row));
  EXPECT_OK(cross_entropy_backward(chunk, scale.data(), target.data(), logits.data(), losses.data(), stream()));
  expect_done();
  for (size_t i = 0; i < x.size(); ++i) {
    auto above = x, below = x;
    above[i] += 0x1p-5F;  // what bfloat16 can hold of each
    below[i] -= 0x1p-5F;
    EXPECT_NEAR((loss(above) - loss(below)) / 0x1p-4, static_cast<double>(widened(logits.values())[i]), 5e-3);
  }
}

TEST_F(CrossEntropyChecksCuda, MinusInfinityIsAProbabilityOfZero) {
  const float none = -std::numeric_limits<float>::infinity();
  Array<Bfloat16> logits(
      narrowed({none, none, none, none, none, none, none, none, 1, none, 1, none, none, none, none, none}));
  Array<int32_t> target(std::vector<int32_t>{8});
  Array<float> scale(std::vector<float>{1}), losses(size_t{1});
  EXPECT_OK(cross_entropy_backward({1, 16, 16}, scale.data(), target.data(), logits.data(), losses.data(), stream()));
  expect_done();
  EXPECT_NEAR(static_cast<double>(losses.values()[0]), std::log(2), 1e-6);
  std::vector<float> expected(16);
  expected[8] = -0.5F;
  expected[10] = 0.5F;
  EXPECT_EQ(widened(logits.values()), expected);
}

TEST_F(CrossEntropyChecksCuda, ALogitThatIsNoNumberMakesNoLoss) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> row(300, 1);
    row[299] = bad;
    row.resize(304);
    Array<Bfloat16> logits(narrowed(row));
    Array<int32_t> target(std::vector<int32_t>{8});
    Array<float> losses(size_t{1});
    EXPECT_OK(cross_entropy_forward({1, 300, 304}, logits.data(), target.data(), losses.data(), stream()));
    expect_done();
    EXPECT_FALSE(std::isfinite(losses.values()[0]));
  }
}

TEST_F(CrossEntropyChecksCuda, LossesAreSummedInDouble) {
  for (auto [groups, group] : {std::pair{1, 1}, std::pair{3, 77}, std::pair{2, 5000}}) {
    const auto count = static_cast<size_t>(groups) * static_cast<size_t>(group);
    auto values = random_values(count, "losses");
    values[0] = 1e7F;  // in float it would swallow the others
    Array<float> losses(values);
    Array<double> sums(static_cast<size_t>(groups));
    EXPECT_OK(sum_losses(sums.size(), static_cast<size_t>(group), losses.data(), sums.data(), stream()));
    expect_done();
    for (size_t g = 0; g < sums.size(); ++g) {
      const auto begin = values.begin() + static_cast<long>(g) * group;
      EXPECT_NEAR(sums.values()[g], std::accumulate(begin, begin + group, 0.0), 1e-7) << g;
    }
  }
}

TEST_F(CrossEntropyChecksCuda, RefuseWhatTheyCannotTake) {
  for (const LogitChunk& chunk : {LogitChunk{1, 0, 8}, LogitChunk{1, 7, 12}, LogitChunk{1, 9, 8}}) {
    EXPECT_EQ(cross_entropy_forward(chunk, nullptr, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace freshet::cuda
