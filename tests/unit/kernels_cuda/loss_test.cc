#include "kernels/cuda/loss.h"

#include "kernels/cross_entropy.h"
#include "kernels/loss.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

class LossCuda : public CudaTest {
 protected:
  // Some rows count nothing, and hold what would end up in every sum.
  static std::vector<float> weights(size_t rows) {
    auto weight = random_values(rows, "weight");
    for (size_t r = 0; r < rows; ++r) weight[r] = r % 5 == 3 ? 0 : 1 + weight[r];
    return weight;
  }
  template <class Reference, class Loss>
  void compare(Reference reference, Loss loss) {
    for (const size_t rows : {1, 300, 1500}) {
      const size_t z_stride = 8, dz_stride = 8;
      auto z = random_values(rows * z_stride, "z", 30);
      const auto bias = random_values16(1, "bias"), weight = weights(rows);
      std::vector<float> label(rows), logit(rows), gradient(rows), first(rows);
      for (size_t r = 0; r < rows; ++r) {
        label[r] = static_cast<float>(r % 3 == 0);
        if (weight[r] == 0) z[r * z_stride] = NAN;
        logit[r] = weight[r] == 0 ? 0 : z[r * z_stride] + bias[0];
      }
      const float scale = 0.25F;
      const double expected = reference(rows, logit.data(), label.data(), weight.data(), scale, gradient.data());
      Array<float> on_z(z), on_label(label), on_weight(weight), on_scale(std::vector<float>{scale});
      Array<Bfloat16> on_bias(narrowed(bias)), dz(rows * dz_stride);
      Array<double> losses(rows), sum(size_t{1});
      EXPECT_OK(loss(LossShape{rows, z_stride, dz_stride}, on_z.data(), on_bias.data(), on_label.data(),
                     on_weight.data(), on_scale.data(), dz.data(), losses.data(), sum.data(), stream()));
      expect_done();
      EXPECT_NEAR(sum.values()[0], expected, 1e-12 * std::fabs(expected));
      const auto values = dz.values();
      for (size_t r = 0; r < rows; ++r) {
        const auto slope = static_cast<double>(gradient[r]);
        EXPECT_NEAR(static_cast<double>(kernels::to_float(values[r * dz_stride])), slope,
                    kRounding16 * std::fabs(slope))
            << r;
        for (size_t c = 1; c < dz_stride; ++c) EXPECT_EQ(values[r * dz_stride + c], 0);
      }
    }
  }
};

TEST_F(LossCuda, BinaryCrossEntropyAgreesWithTheCpu) { compare(kernels::bce_with_logits, bce_with_logits); }

TEST_F(LossCuda, SquaredErrorAgreesWithTheCpu) { compare(kernels::squared_error, squared_error); }

TEST_F(LossCuda, SoftmaxAgreesWithTheReference) {
  for (const size_t classes : {2, 3, 100}) {
    const size_t rows = 45, stride = (classes + 7) / 8 * 8 + 8;
    const auto z = random_values(rows * stride, "z", 10);
    const auto bias = random_values16(classes, "bias"), weight = weights(rows);
    std::vector<float> label(rows), logits(rows * classes);
    std::vector<int32_t> target(rows);
    for (size_t r = 0; r < rows; ++r) {
      target[r] = static_cast<int32_t>(r % classes);
      label[r] = static_cast<float>(target[r]);
      for (size_t c = 0; c < classes; ++c) logits[r * classes + c] = z[r * stride + c] + bias[c];
    }
    const float scale = 0.25F;
    double expected = 0;
    std::vector<float> gradient(logits.size());
    for (size_t r = 0; r < rows; ++r) {
      expected +=
          static_cast<double>(weight[r]) * kernels::ref::cross_entropy(1, classes, &logits[r * classes], &target[r],
                                                                       weight[r] * scale, &gradient[r * classes]);
    }
    Array<float> on_z(z), on_label(label), on_weight(weight), on_scale(std::vector<float>{scale});
    Array<Bfloat16> on_bias(narrowed(bias)), dz(rows * stride);
    Array<double> losses(rows), sum(size_t{1});
    EXPECT_OK(softmax_cross_entropy({rows, stride, stride}, classes, on_z.data(), on_bias.data(), on_label.data(),
                                    on_weight.data(), on_scale.data(), dz.data(), losses.data(), sum.data(), stream()));
    expect_done();
    // A loss is the logarithm of a float's sum: good to a few roundings of a value of about 20.
    EXPECT_NEAR(sum.values()[0], expected, 45 * 40 * kRounding);
    const auto values = widened(dz.values());
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t r = i / stride, c = i % stride;
      const double slope = c < classes ? static_cast<double>(gradient[r * classes + c]) : 0;
      EXPECT_NEAR(static_cast<double>(values[i]), slope, kRounding16 * std::fabs(slope) + 1e-6);
    }
  }
}

}  // namespace
}  // namespace freshet::cuda
