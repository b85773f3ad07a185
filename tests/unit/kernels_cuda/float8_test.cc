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
    const float inverse = 0.9375F, lower = 2, higher = 1000;
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
    for (bool has_y : {true, false}) {
      for (bool has_transposed : {true, false}) {
        if (!has_y && !has_transposed) continue;
        const float before = has_y ? lower : higher;
        Array<Float8Scale> scale_device(
            std::vector<Float8Scale>{{3, inverse, std::bit_cast<uint32_t>(before), 0x7F000000}});
        Array<Float8> y_device(y.size()), transposed_device(y_transposed.size());
        EXPECT_OK(quantize_float8(shape, x_device.data(), scale_device.data(), has_y ? y_device.data() : nullptr,
                                  has_transposed ? transposed_device.data() : nullptr, stream()));
        expect_done();
        EXPECT_EQ(y_device.values(), has_y ? y : std::vector<Float8>(y.size(), 0xFF));
        EXPECT_EQ(transposed_device.values(),
                  has_transposed ? y_transposed : std::vector<Float8>(y_transposed.size(), 0xFF));
        const Float8Scale after = scale_device.values()[0];
        EXPECT_EQ(std::bit_cast<float>(after.magnitude), std::max(magnitude, before));
        EXPECT_EQ(after.scale, 3) << "there is a history";
      }
    }
  }
  EXPECT_EQ(quantize_float8({8, 16, 16, 16, 16}, nullptr, nullptr, nullptr, nullptr, stream()).code(),
            Code::kInvalidArgument);
}

// What is not finite must reach the loss, and a scale has nothing of it.
TEST_F(Float8Cuda, WhatIsNotFiniteBecomesNaN) {
  const size_t rows = 32, columns = 48;
  auto x = random_values16(rows * columns, "x", 3);
  x[5] = std::numeric_limits<float>::infinity();
  x[columns * 9 + 20] = -std::numeric_limits<float>::infinity();
  x[columns * 31 + 47] = std::numeric_limits<float>::quiet_NaN();
  Array<Bfloat16> x_device(narrowed(x));
  for (float inverse : {0.0F, 2.0F}) {
    Array<Float8Scale> scale(std::vector<Float8Scale>{{1, inverse, 0, 0}});
    Array<Float8> y(rows * columns), y_transposed(rows * columns);
    EXPECT_OK(quantize_float8({rows, columns, columns, columns, rows}, x_device.data(), scale.data(), y.data(),
                              y_transposed.data(), stream()));
    expect_done();
    const auto bytes = y.values(), transposed = y_transposed.values();
    for (size_t i = 0; i < x.size(); ++i) {
      const Float8 expected =
          std::isfinite(x[i]) ? kernels::to_float8(x[i] * (inverse == 0 ? 1 : inverse)) : Float8{0x7F};
      EXPECT_EQ(bytes[i], expected) << i;
      EXPECT_EQ(transposed[i % columns * rows + i / columns], expected) << i;
    }
    EXPECT_EQ(scale.values()[0].scale, 1);
    EXPECT_TRUE(std::isnan(std::bit_cast<float>(scale.values()[0].magnitude)));
  }
}

// Each micro-batch by its own magnitude, while the step's is that of all.
TEST_F(Float8Cuda, WithoutAHistoryAMicroBatchIsScaledByItself) {
  const size_t rows = 144, columns = 208;
  Array<Float8History> histories(std::vector<Float8History>(1, Float8History{}));
  Array<Float8Scale> scale(1);
  EXPECT_OK(begin_float8_step(1, histories.data(), scale.data(), stream()));
  float greatest = 0;
  for (float factor : {5.0F, 700.0F, 0.25F}) {
    const auto x = random_values16(rows * columns, "x", factor);
    float magnitude = 0;
    for (float value : x) magnitude = std::max(magnitude, std::fabs(value));
    greatest = std::max(greatest, magnitude);
    Array<Bfloat16> x_device(narrowed(x));
    EXPECT_OK(begin_float8_micro_batch(1, scale.data(), stream()));
    for (int time = 0; time < 2; ++time) {  // a layer that is made again
      Array<Float8> y(x.size());
      EXPECT_OK(quantize_float8({rows, columns, columns, columns, 0}, x_device.data(), scale.data(), y.data(), nullptr,
                                stream()));
      expect_done();
      EXPECT_EQ(scale.values()[0].scale, magnitude / 448);
      EXPECT_EQ(scale.values()[0].inverse, 0) << "there is still no history";
      EXPECT_EQ(std::bit_cast<float>(scale.values()[0].magnitude), greatest);
      std::vector<Float8> expected;
      for (float value : x) expected.push_back(kernels::to_float8(value * (448 / magnitude)));
      EXPECT_EQ(y.values(), expected);
    }
  }
}

TEST_F(Float8Cuda, AScaleIsThatOfTheGreatestOfTheLastSteps) {
  const size_t count = 300, one = 299, ranks = 3;
  Array<Float8History> histories(std::vector<Float8History>(count, Float8History{}));
  Array<Float8Scale> scales(count);
  EXPECT_OK(begin_float8_step(count, histories.data(), scales.data(), stream()));
  expect_done();
  EXPECT_EQ(scales.values()[one].scale, 1);
  EXPECT_EQ(scales.values()[one].inverse, 0);
  std::vector<float> magnitudes;
  for (unsigned step = 0; step < 40; ++step) {
    const float magnitude = step == 20 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(step * 37 % 29);
    const bool is_applied = step % 5 != 3;
    std::vector<Float8Scale> of_ranks(ranks * count, Float8Scale{});
    for (size_t rank = 0; rank < ranks; ++rank) {
      const float seen = rank == step % ranks ? magnitude : magnitude / 2;
      of_ranks[rank * count + one].magnitude = std::bit_cast<uint32_t>(seen);
    }
    Array<Float8Scale> gathered(of_ranks);
    Array<int32_t> applied(std::vector<int32_t>{is_applied});
    EXPECT_OK(end_float8_step(count, ranks, gathered.data(), applied.data(), histories.data(), stream()));
    EXPECT_OK(begin_float8_step(count, histories.data(), scales.data(), stream()));
    expect_done();
    if (is_applied) magnitudes.push_back(step == 20 ? 0 : magnitude);
    const auto begin = magnitudes.end() - std::min<ptrdiff_t>(std::ssize(magnitudes), kFloat8History);
    const float greatest = *std::max_element(begin, magnitudes.end());
    const Float8Scale after = scales.values()[one];
    EXPECT_EQ(after.scale, greatest > 0 ? greatest / 448 : 1) << step;
    EXPECT_EQ(after.inverse, greatest > 0 ? 448 / greatest : 1) << step;
    EXPECT_EQ(after.magnitude, 0U);
    EXPECT_EQ(histories.values()[one].steps, magnitudes.size());
  }
  EXPECT_EQ(scales.values()[0].scale, 1) << "its neighbours are left alone";
}

// A product of what was quantised is that of the values, but for the rounding of both operands.
TEST_F(Float8Cuda, AProductOfQuantisedOperands) {
  const size_t m = 32, n = 48, k = 64;
  const auto a = random_values16(m * k, "a", 20), b = random_values16(n * k, "b", 0.01F);
  Array<Float8History> histories(std::vector<Float8History>(2, Float8History{}));
  Array<Float8Scale> scales(2);
  Array<Bfloat16> a_device(narrowed(a)), b_device(narrowed(b));
  Array<Float8> a8(m * k), b8(n * k);
  Array<float> c(m * n);
  auto products = Products::create();
  ASSERT_TRUE(products.is_ok()) << products.status().to_string();
  EXPECT_OK(begin_float8_step(2, histories.data(), scales.data(), stream()));
  EXPECT_OK(quantize_float8({m, k, k, k, 0}, a_device.data(), scales.data(), a8.data(), nullptr, stream()));
  EXPECT_OK(quantize_float8({n, k, k, k, 0}, b_device.data(), scales.data() + 1, b8.data(), nullptr, stream()));
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
