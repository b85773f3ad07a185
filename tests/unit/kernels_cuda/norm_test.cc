#include "kernels/cuda/norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/activation.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using kernels::NormShape;

// A norm of either kind, its inputs, and what the reference makes of them.
struct Case {
  NormShape shape;
  bool is_centred;
  bool has_add;
  size_t count = shape.rows * shape.width;
  std::vector<float> x, add, weight, bias, dy, residual;

  Case(size_t rows, size_t width, bool is_centred_, bool has_add_)
      : shape{rows, width, 1e-5F}, is_centred(is_centred_), has_add(has_add_) {
    // Off centre and with an outlier in each row, so that a mean that is forgotten or a sum that is short shows.
    x = random_values16(count, "x");
    for (size_t i = 0; i < count; ++i) x[i] += i % width == width - 1 ? 6.0F : 0.5F;
    x = widened(narrowed(x));
    add = random_values16(count, "add");
    weight = random_values16(width, "weight", 2);
    bias = random_values16(width, "bias");
    dy = random_values16(count, "dy");
    residual = random_values16(count, "residual");
  }

  std::vector<float> h() const {
    std::vector<float> sum = x;
    for (size_t i = 0; has_add && i < count; ++i) sum[i] += add[i];
    return widened(narrowed(sum));
  }
};

struct Outputs {
  std::vector<float> sum, y, again, mean, scale, dh, dweight, dbias, dh_sum;
  bool operator==(const Outputs&) const = default;
};

class NormCuda : public CudaTest, public testing::WithParamInterface<std::pair<size_t, size_t>> {
 protected:
  // `in_place`: the sum goes where x was. `has_sum`: of dh, too, where the norm is centred.
  Outputs run(const Case& c, bool is_first, bool in_place, bool has_sum) const {
    const size_t rows = c.shape.rows, width = c.shape.width;
    Array<Bfloat16> x(narrowed(c.x)), add(narrowed(c.add)), weight(narrowed(c.weight)), bias(narrowed(c.bias)),
        sum(c.count), y(c.count), again(c.count), dy(narrowed(c.dy)),
        dh(is_first ? std::vector<Bfloat16>(c.count, 0xFFFF) : narrowed(c.residual));
    Array<float> mean(rows), scale(rows), dweight(width), dbias(width), dh_sum(width),
        scratch(norm_backward_scratch(c.shape));
    const Bfloat16* more = c.has_add ? add.data() : nullptr;
    Bfloat16* to = in_place ? x.data() : sum.data();
    const Bfloat16* h = c.has_add ? to : x.data();
    if (c.is_centred) {
      EXPECT_OK(layer_norm_forward(c.shape, x.data(), more, weight.data(), bias.data(), to, y.data(), mean.data(),
                                   scale.data(), stream()));
      EXPECT_OK(norm_again(c.shape, h, weight.data(), bias.data(), mean.data(), scale.data(), again.data(), stream()));
      EXPECT_OK(layer_norm_backward(c.shape, h, weight.data(), mean.data(), scale.data(), dy.data(), is_first,
                                    dh.data(), dweight.data(), dbias.data(), has_sum ? dh_sum.data() : nullptr,
                                    scratch.data(), stream()));
    } else {
      EXPECT_OK(rms_norm_forward(c.shape, x.data(), more, weight.data(), to, y.data(), scale.data(), stream()));
      EXPECT_OK(norm_again(c.shape, h, weight.data(), nullptr, nullptr, scale.data(), again.data(), stream()));
      EXPECT_OK(rms_norm_backward(c.shape, h, weight.data(), scale.data(), dy.data(), is_first, dh.data(),
                                  dweight.data(), scratch.data(), stream()));
    }
    expect_done();
    Outputs out{c.has_add ? widened(in_place ? x.values() : sum.values()) : c.x,
                widened(y.values()),
                widened(again.values()),
                {},
                scale.values(),
                widened(dh.values()),
                dweight.values(),
                {},
                {}};
    if (c.is_centred) {
      out.mean = mean.values();
      out.dbias = dbias.values();
      if (has_sum) out.dh_sum = dh_sum.values();
    }
    return out;
  }

  static Outputs reference(const Case& c, bool is_first) {
    const size_t rows = c.shape.rows, width = c.shape.width;
    Outputs out{c.h(), std::vector<float>(c.count), {}, {}, std::vector<float>(rows),
                {},    std::vector<float>(width),   {}, {}};
    out.dh = is_first ? std::vector<float>(c.count) : c.residual;
    if (c.is_centred) {
      out.mean.resize(rows);
      out.dbias.resize(width);
      kernels::ref::layer_norm_forward(c.shape, out.sum.data(), nullptr, c.weight.data(), c.bias.data(), nullptr,
                                       out.y.data(), out.mean.data(), out.scale.data());
      kernels::ref::layer_norm_gradient(c.shape, out.sum.data(), c.weight.data(), c.dy.data(), out.dh.data(),
                                        out.dweight.data(), out.dbias.data());
      out.dh_sum.resize(width);
      kernels::ref::column_sums({rows, width, width}, out.dh.data(), out.dh_sum.data());
    } else {
      kernels::ref::rms_norm_forward(c.shape, out.sum.data(), nullptr, c.weight.data(), nullptr, out.y.data(),
                                     out.scale.data());
      kernels::ref::rms_norm_gradient(c.shape, out.sum.data(), c.weight.data(), c.dy.data(), out.dh.data(),
                                      out.dweight.data());
    }
    return out;
  }

  // The error of float arithmetic in a value that is at most `largest`: a sum of a row has parts of width / 32 terms at
  // most, and an element is made in about 24 operations.
  static double arithmetic(const Case& c, double largest) {
    return (static_cast<double>(c.shape.width) / 32 + 24) * largest * kRounding;
  }
  // Each element once more rounded to bfloat16.
  static void expect_rounded(const Case& c, const std::vector<float>& actual, const std::vector<float>& expected,
                             double largest, const char* what) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      const double value = static_cast<double>(expected[i]);
      ASSERT_NEAR(static_cast<double>(actual[i]), value, std::abs(value) * kRounding16 + arithmetic(c, largest))
          << what << " " << i << " of rows of " << c.shape.width;
    }
  }
};

TEST_P(NormCuda, AgreesWithTheReference) {
  for (bool is_centred : {true, false}) {
    for (bool has_add : {true, false}) {
      const Case c(GetParam().first, GetParam().second, is_centred, has_add);
      const bool is_first = has_add != is_centred, in_place = is_centred;
      const Outputs actual = run(c, is_first, in_place, true), expected = reference(c, is_first);
      expect_same_bits(actual.sum, expected.sum);
      expect_same_bits(actual.again, actual.y);
      // A normalised element is at most sqrt(width), times a weight of 2, and so is the gradient's part with z.
      const double largest = 4 * std::sqrt(static_cast<double>(c.shape.width));
      expect_rounded(c, actual.y, expected.y, largest, "y");
      expect_close(actual.mean, expected.mean, arithmetic(c, 8));
      // Scales are below 8 here: no row is nearly constant.
      ASSERT_LT(*std::max_element(expected.scale.begin(), expected.scale.end()), 8.0F);
      expect_close(actual.scale, expected.scale, arithmetic(c, 8));
      expect_rounded(c, actual.dh, expected.dh, 8 * largest, "dh");
      // Sums of `rows` terms of at most sqrt(width), which are within arithmetic() themselves.
      const auto rows = static_cast<double>(c.shape.rows);
      expect_close(actual.dweight, expected.dweight, rows * (arithmetic(c, largest) + rows * largest * kRounding));
      expect_close(actual.dbias, expected.dbias, rows * rows * kRounding);
      expect_close(actual.dh_sum, expected.dh_sum,
                   rows * (arithmetic(c, 8 * largest) + rows * 8 * largest * kRounding));
      EXPECT_EQ(run(c, is_first, in_place, true), actual) << "a second time";
      Outputs without = actual;
      without.dh_sum.clear();
      EXPECT_EQ(run(c, is_first, in_place, false), without);
    }
  }
}

// Each width of another layout: one warp a row with one, two and three vectors a thread, whole and not; several warps.
INSTANTIATE_TEST_SUITE_P(Shapes, NormCuda,
                         testing::Values(std::pair{1, 8}, std::pair{257, 8}, std::pair{3, 64}, std::pair{257, 64},
                                         std::pair{3, 256}, std::pair{3, 264}, std::pair{1, 768}, std::pair{27, 768},
                                         std::pair{5, 776}, std::pair{9, 1600}, std::pair{3, 4096},
                                         std::pair{2, 8192}));

using NormGradientsCuda = CudaTest;

// More rows than the backward's blocks take at once: each goes round more often than it has stages, with one warp a row
// and with two. Whole numbers, different in each row, so that all sums are exact.
TEST_F(NormGradientsCuda, SumManyRows) {
  for (auto [rows, width] : {std::pair<size_t, size_t>{10000, 8}, {4300, 776}}) {
    const NormShape shape{rows, width, 1e-5F};
    std::vector<float> h(rows * width), dy(rows * width), mean(rows), scale(rows), dh(rows * width);
    std::vector<float> dweight(width), dbias(width);
    std::vector<double> dh_sum(width);
    for (size_t r = 0; r < rows; ++r) {
      mean[r] = static_cast<float>(r % 7);
      scale[r] = static_cast<float>(1 + r % 5);
      float sum = 0, sum_z = 0;
      for (size_t c = 0; c < width; ++c) {
        const size_t i = r * width + c;
        h[i] = static_cast<float>((r + c) % 5);
        dy[i] = static_cast<float>((3 * r + c) % 4) - 1;
        const float z = (h[i] - mean[r]) * scale[r];
        dweight[c] += dy[i] * z;
        dbias[c] += dy[i];
        sum += dy[i];
        sum_z += dy[i] * z;
      }
      for (size_t i = r * width; i < (r + 1) * width; ++i) {
        const float n = static_cast<float>(width), z = (h[i] - mean[r]) * scale[r];
        dh[i] = scale[r] * (dy[i] - sum / n - z * sum_z / n);
        dh_sum[i % width] += static_cast<double>(dh[i]);
      }
    }
    Array<Bfloat16> h_in(narrowed(h)), dy_in(narrowed(dy)),
        weight(std::vector<Bfloat16>(width, kernels::to_bfloat16(1.0F))), dh_out(rows * width);
    Array<float> mean_in(mean), scale_in(scale), dweight_out(width), dbias_out(width), dh_sum_out(width),
        scratch(norm_backward_scratch(shape));
    EXPECT_OK(layer_norm_backward(shape, h_in.data(), weight.data(), mean_in.data(), scale_in.data(), dy_in.data(),
                                  true, dh_out.data(), dweight_out.data(), dbias_out.data(), dh_sum_out.data(),
                                  scratch.data(), stream()));
    expect_done();
    EXPECT_EQ(dweight_out.values(), dweight);
    EXPECT_EQ(dbias_out.values(), dbias);
    // Of numbers below 512 that are off by some roundings each, to either side; a row is more than 1.
    for (size_t c = 0; c < width; ++c) EXPECT_NEAR(dh_sum_out.values()[c], dh_sum[c], 0.1) << c << " " << dh_sum[c];
    const auto actual = widened(dh_out.values());
    for (size_t i = 0; i < dh.size(); ++i) {
      // Some float operations with numbers below 512, and one rounding.
      const auto value = static_cast<double>(dh[i]);
      ASSERT_NEAR(static_cast<double>(actual[i]), value, std::abs(value) * kRounding16 + 512 * 16 * kRounding) << i;
    }
  }
}

TEST_F(NormGradientsCuda, RefuseWidthsThatTheyCannotTake) {
  for (size_t width : {size_t{0}, size_t{12}, kNormWidthMax + 8}) {
    const NormShape shape{1, width, 1e-5F};
    EXPECT_EQ(rms_norm_forward(shape, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, stream()).code(),
              Code::kInvalidArgument)
        << width;
  }
}

}  // namespace
}  // namespace freshet::cuda
