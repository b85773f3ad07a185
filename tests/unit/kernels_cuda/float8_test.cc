#include "kernels/cuda/float8.h"

#include <limits>

#include "tests/unit/kernels_cuda/products_support.h"

namespace freshet::cuda {
namespace {

using Float8Cuda = CudaTest;
using kernels::Float8;

TEST_F(Float8Cuda, RoundsAndTransposes) {
  for (auto [rows, columns] : {std::array<size_t, 2>{16, 16}, {128, 64}, {144, 208}, {400, 80}}) {
    const Float8Shape shape{rows, columns, columns + 8, columns + 16, rows + 32};
    auto x = random_values16(rows * shape.x_stride, "x", 3);
    x[shape.x_stride * 15 + 7] = -700;  // beyond the scale
    const float inverse = 0.9375F;
    std::vector<Float8> y(rows * shape.y_stride, 0xFF), y_transposed(columns * shape.y_transposed_stride, 0xFF);
    float magnitude = 0;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) {
        const float value = x[r * shape.x_stride + c];
        magnitude = std::max(magnitude, std::fabs(value));
        const Float8 right = kernels::to_float8(value * inverse);
        y[r * shape.y_stride + c] = right;
        y_transposed[c * shape.y_transposed_stride + r] = right;
      }
    }
    Array<Bfloat16> x_device(narrowed(x));
    Float8Scale scale{};
    scale.inverse = inverse;
    for (bool has_y : {true, false}) {
      for (bool has_transposed : {true, false}) {
        Array<Float8Scale> scale_device(std::vector<Float8Scale>{scale});
        Array<Float8> y_device(y.size()), transposed_device(y_transposed.size());
        EXPECT_OK(quantize_float8(shape, x_device.data(), scale_device.data(), has_y ? y_device.data() : nullptr,
                                  has_transposed ? transposed_device.data() : nullptr, stream()));
        expect_done();
        EXPECT_EQ(y_device.values(), has_y ? y : std::vector<Float8>(y.size(), 0xFF));
        EXPECT_EQ(transposed_device.values(),
                  has_transposed ? y_transposed : std::vector<Float8>(y_transposed.size(), 0xFF));
        EXPECT_EQ(std::bit_cast<float>(scale_device.values()[0].magnitude), magnitude);
      }
    }
  }
  EXPECT_EQ(quantize_float8({8, 16, 16, 16, 16}, nullptr, nullptr, nullptr, nullptr, stream()).code(),
            Code::kInvalidArgument);
}

TEST_F(Float8Cuda, AScaleIsThatOfTheGreatestOfTheLastSteps) {
  Array<Float8Scale> scales(std::vector<Float8Scale>(3, Float8Scale{}));
  std::vector<float> magnitudes;
  EXPECT_OK(update_float8_scales(3, scales.data(), stream()));
  expect_done();
  EXPECT_EQ(scales.values()[1].scale, 1);
  EXPECT_EQ(scales.values()[1].inverse, 1);
  for (unsigned step = 0; step < 40; ++step) {
    auto values = scales.values();
    const float magnitude = step == 20 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(step * 37 % 29);
    values[1].magnitude = std::bit_cast<uint32_t>(magnitude);
    EXPECT_OK(copy_to_device(scales.data(), values.data(), values.size() * sizeof(Float8Scale), stream()));
    expect_done();
    EXPECT_OK(update_float8_scales(3, scales.data(), stream()));
    expect_done();
    magnitudes.push_back(step == 20 ? 0 : magnitude);
    const auto begin = magnitudes.end() - std::min<ptrdiff_t>(std::ssize(magnitudes), kFloat8History);
    const float greatest = *std::max_element(begin, magnitudes.end());
    const Float8Scale after = scales.values()[1];
    EXPECT_EQ(after.scale, greatest > 0 ? greatest / 448 : 1) << step;
    EXPECT_EQ(after.inverse, greatest > 0 ? 448 / greatest : 1) << step;
    EXPECT_EQ(after.magnitude, 0U);
  }
  EXPECT_EQ(scales.values()[0].scale, 1) << "its neighbours are left alone";
}

// A product of what was quantised is that of the values, but for the rounding of both operands.
TEST_F(Float8Cuda, AProductOfQuantisedOperands) {
  const size_t m = 32, n = 48, k = 64;
  const auto a = random_values16(m * k, "a", 20), b = random_values16(n * k, "b", 0.01F);
  Array<Float8Scale> scales(std::vector<Float8Scale>(2, Float8Scale{}));
  Array<Bfloat16> a_device(narrowed(a)), b_device(narrowed(b));
  Array<Float8> a8(m * k), b8(n * k);
  Array<float> c(m * n);
  auto products = Products::create();
  ASSERT_TRUE(products.is_ok()) << products.status().to_string();
  for (int step = 0; step < 2; ++step) {  // the first one finds the scales
    EXPECT_OK(update_float8_scales(2, scales.data(), stream()));
    EXPECT_OK(quantize_float8({m, k, k, k, 0}, a_device.data(), scales.data(), a8.data(), nullptr, stream()));
    EXPECT_OK(quantize_float8({n, k, k, k, 0}, b_device.data(), scales.data() + 1, b8.data(), nullptr, stream()));
  }
  ProductOperands operands{a8.data(), k, b8.data(), k, c.data(), n};
  operands.a_scale = &scales.data()[0].scale;
  operands.b_scale = &scales.data()[1].scale;
  EXPECT_OK(products->run({m, n, k, false, true, Type::kFloat8, Type::kFloat32}, operands, stream()));
  expect_done();
  std::vector<float> expected(m * n);
  kernels::ref::matmul({m, n, k}, {a.data(), k, false}, {b.data(), k, true}, expected.data(), n);
  // Each of 64 products of at most 0.2 is off by 2^-3 of itself at most, and by chance up or down.
  expect_close(c.values(), expected, 0.2 * 0x1p-3 * 8);
  EXPECT_NE(c.values(), expected);
}

}  // namespace
}  // namespace freshet::cuda
