#include "kernels/norm.h"

#include <gtest/gtest.h>

#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class Norm : public testing::TestWithParam<std::pair<size_t, size_t>> {
 protected:
  const NormShape s_{GetParam().first, GetParam().second, 1e-5F};
  const size_t count_ = s_.rows * s_.width;
  // Off centre and with an outlier in each row, so that a mean that is forgotten or a sum that is short shows.
  const std::vector<float> x_ = [this] {
    auto x = random_values(count_, "x");
    for (size_t r = 0; r < s_.rows; ++r) {
      for (size_t c = 0; c < s_.width; ++c) x[r * s_.width + c] += 0.5F;
      x[r * s_.width + s_.width - 1] += 6;
    }
    return x;
  }();
  const std::vector<float> add_ = random_values(count_, "add"), dy_ = random_values(count_, "dy");
  const std::vector<float> weight_ = random_values(s_.width, "weight", 2), bias_ = random_values(s_.width, "bias");

  // A normalised element is below sqrt(width); sums of n terms in sixteen parts round about n / 16 + 4 times.
  double tolerance() const {
    auto width = static_cast<double>(s_.width);
    return (width / 16 + 24) * 4 * std::sqrt(width) * kRounding;
  }
};

TEST_P(Norm, LayerNormAgreesWithTheReference) {
  for (const float* add : {static_cast<const float*>(nullptr), add_.data()}) {
    std::vector<float> sum(count_), y(count_), mean(s_.rows), scale(s_.rows), sum2(count_), y2(count_), mean2(s_.rows),
        scale2(s_.rows);
    layer_norm_forward(s_, x_.data(), add, weight_.data(), bias_.data(), sum.data(), y.data(), mean.data(),
                       scale.data());
    ref::layer_norm_forward(s_, x_.data(), add, weight_.data(), bias_.data(), sum2.data(), y2.data(), mean2.data(),
                            scale2.data());
    expect_same_bits(sum, sum2);
    expect_close(y, y2, tolerance());
    expect_close(mean, mean2, tolerance());

    const float* h = add == nullptr ? x_.data() : sum.data();
    auto dh = add_, dh2 = add_;  // the residual's gradient, to which it is added
    std::vector<float> dweight(s_.width, -7), dbias(s_.width, -7), dweight2(s_.width), dbias2(s_.width);
    layer_norm_gradient(s_, h, weight_.data(), mean.data(), scale.data(), dy_.data(), dh.data());
    size_t half = s_.width / 2;
    layer_norm_weight_gradient(s_, 0, half, h, mean.data(), scale.data(), dy_.data(), dweight.data(), dbias.data());
    layer_norm_weight_gradient(s_, half, s_.width, h, mean.data(), scale.data(), dy_.data(), dweight.data(),
                               dbias.data());
    ref::layer_norm_gradient(s_, h, weight_.data(), dy_.data(), dh2.data(), dweight2.data(), dbias2.data());
    // A row of few columns that are nearly equal has a large scale.
    double largest = 1;
    for (float s : scale) largest = std::max(largest, static_cast<double>(s));
    expect_close(dh, dh2, tolerance() * largest * 4);
    expect_close(dweight, dweight2, tolerance() * std::pow(static_cast<double>(s_.rows), 1.5));
    expect_close(dbias, dbias2, std::pow(static_cast<double>(s_.rows), 1.5) * kRounding);
  }
}

TEST_P(Norm, RmsNormAgreesWithTheReference) {
  for (const float* add : {static_cast<const float*>(nullptr), add_.data()}) {
    std::vector<float> sum(count_), y(count_), scale(s_.rows), sum2(count_), y2(count_), scale2(s_.rows);
    rms_norm_forward(s_, x_.data(), add, weight_.data(), sum.data(), y.data(), scale.data());
    ref::rms_norm_forward(s_, x_.data(), add, weight_.data(), sum2.data(), y2.data(), scale2.data());
    expect_same_bits(sum, sum2);
    expect_close(y, y2, tolerance());
    expect_close(scale, scale2, tolerance() * 8);

    const float* h = add == nullptr ? x_.data() : sum.data();
    auto dh = add_, dh2 = add_;
    std::vector<float> dweight(s_.width, -7), dweight2(s_.width);
    rms_norm_gradient(s_, h, weight_.data(), scale.data(), dy_.data(), dh.data());
    rms_norm_weight_gradient(s_, 0, s_.width, h, scale.data(), dy_.data(), dweight.data());
    ref::rms_norm_gradient(s_, h, weight_.data(), dy_.data(), dh2.data(), dweight2.data());
    expect_close(dh, dh2, tolerance() * 8);
    expect_close(dweight, dweight2, tolerance() * std::pow(static_cast<double>(s_.rows), 1.5));
  }
}

// Rows may be split anywhere, and a second time gives the same.
TEST_P(Norm, GivesTheSameBitsForAnySplit) {
  auto all = [&](size_t part) {
    std::vector<float> out(3 * count_), mean(s_.rows), scale(s_.rows);
    for (size_t from = 0; from < s_.rows; from += part) {
      NormShape some{std::min(part, s_.rows - from), s_.width, s_.epsilon};
      float *sum = out.data() + from * s_.width, *y = sum + count_, *dh = y + count_;
      layer_norm_forward(some, x_.data() + from * s_.width, add_.data() + from * s_.width, weight_.data(), bias_.data(),
                         sum, y, mean.data() + from, scale.data() + from);
      layer_norm_gradient(some, sum, weight_.data(), mean.data() + from, scale.data() + from,
                          dy_.data() + from * s_.width, dh);
    }
    return out;
  };
  auto expected = all(s_.rows);
  expect_same_bits(all(s_.rows), expected);
  expect_same_bits(all(3), expected);
  expect_same_bits(all(1), expected);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Norm,
                         testing::Values(std::pair{1, 2}, std::pair{3, 16}, std::pair{37, 5}, std::pair{7, 33},
                                         std::pair{64, 128}, std::pair{5, 769}));

TEST(NormGradients, AgreeWithFiniteDifferences) {
  NormShape s{3, 21, 1e-5F};
  auto x = random_values(63, "x"), weight = random_values(21, "weight"), bias = random_values(21, "bias");
  auto dy = random_values(63, "dy");
  for (bool centred : {true, false}) {
    std::vector<float> y(63), mean(3), scale(3);
    auto value = [&] {
      if (centred) {
        layer_norm_forward(s, x.data(), nullptr, weight.data(), bias.data(), nullptr, y.data(), mean.data(),
                           scale.data());
      } else {
        rms_norm_forward(s, x.data(), nullptr, weight.data(), nullptr, y.data(), scale.data());
      }
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(dy[i]);
      return sum;
    };
    value();
    std::vector<float> dx(63), dweight(21), dbias(21);
    if (centred) {
      layer_norm_gradient(s, x.data(), weight.data(), mean.data(), scale.data(), dy.data(), dx.data());
      layer_norm_weight_gradient(s, 0, 21, x.data(), mean.data(), scale.data(), dy.data(), dweight.data(),
                                 dbias.data());
    } else {
      rms_norm_gradient(s, x.data(), weight.data(), scale.data(), dy.data(), dx.data());
      rms_norm_weight_gradient(s, 0, 21, x.data(), scale.data(), dy.data(), dweight.data());
    }
    expect_finite_differences(value, x, dx, 0x1p-8F, 1e-2);
    expect_finite_differences(value, weight, dweight, 0x1p-4F, 1e-3);
    if (centred) expect_finite_differences(value, bias, dbias, 0x1p-4F, 1e-3);
  }
}

}  // namespace
}  // namespace freshet::kernels
