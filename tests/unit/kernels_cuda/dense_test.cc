#include "kernels/cuda/dense.h"

#include "kernels/bias_relu.h"
#include "kernels/cross_layer.h"
#include "kernels/cuda/cross_layer.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

// More rows than a piece, columns that fill no vector, one lane and more than one strip.
const std::vector<DenseShape> kShapes = {{1, 1, 8}, {33, 5, 8}, {70, 24, 24}, {90, 61, 64}, {40, 300, 304}};

class DenseCuda : public CudaTest {
 protected:
  // Rows of `stride` from dense ones, with something behind the columns that must have no part in anything.
  static std::vector<float> strided(const DenseShape& shape, const std::vector<float>& dense) {
    std::vector<float> wide(shape.rows * shape.stride, 0.5F);
    for (size_t r = 0; r < shape.rows; ++r) {
      std::copy_n(dense.begin() + static_cast<ptrdiff_t>(r * shape.columns), shape.columns,
                  wide.begin() + static_cast<ptrdiff_t>(r * shape.stride));
    }
    return wide;
  }
  static std::vector<float> dense(const DenseShape& shape, const std::vector<Bfloat16>& wide) {
    std::vector<float> values;
    for (size_t r = 0; r < shape.rows; ++r) {
      for (size_t c = 0; c < shape.columns; ++c) values.push_back(kernels::to_float(wide[r * shape.stride + c]));
    }
    return values;
  }
  static std::vector<float> rounded(const std::vector<float>& values) { return widened(narrowed(values)); }
  static Array<Bfloat16> on_device(const DenseShape& shape, const std::vector<float>& values) {
    return Array<Bfloat16>(narrowed(strided(shape, values)));
  }
};

TEST_F(DenseCuda, BiasAndReluAgreeWithTheReference) {
  for (const auto& shape : kShapes) {
    const auto z = random_values16(shape.rows * shape.columns, "z"), bias = random_values16(shape.columns, "bias");
    auto dz = random_values16(z.size(), "dz");
    auto on_z = on_device(shape, z), on_dz = on_device(shape, dz), on_bias = Array<Bfloat16>(narrowed(bias));
    EXPECT_OK(bias_relu_forward(shape, on_bias.data(), on_z.data(), stream()));
    expect_done();
    auto y = z;
    kernels::ref::bias_relu_forward(shape.rows, shape.columns, bias.data(), y.data());
    y = rounded(y);
    expect_same_bits(dense(shape, on_z.values()), y);

    Array<float> dbias(shape.columns), scratch(bias_backward_scratch(shape)), again(shape.columns);
    EXPECT_OK(bias_backward(shape, on_dz.data(), again.data(), scratch.data(), stream()));
    expect_done();
    std::vector<float> expected(shape.columns);
    kernels::ref::bias_gradient(shape.rows, shape.columns, dz.data(), expected.data());
    // A running sum of at most 90 values below 1.
    const double tolerance = 90 * kRounding * static_cast<double>(shape.rows);
    expect_close(again.values(), expected, tolerance);

    EXPECT_OK(bias_relu_backward(shape, on_z.data(), on_dz.data(), dbias.data(), scratch.data(), stream()));
    expect_done();
    kernels::ref::bias_relu_gradient(shape.rows, shape.columns, y.data(), dz.data(), expected.data());
    expect_same_bits(dense(shape, on_dz.values()), dz);
    expect_close(dbias.values(), expected, tolerance);
    EXPECT_OK(bias_backward(shape, on_dz.data(), again.data(), scratch.data(), stream()));
    expect_done();
    expect_same_bits(again.values(), dbias.values());
  }
}

// More rows than the pieces take at least; whole numbers, so that all sums are exact.
TEST_F(DenseCuda, SumsOfManyRows) {
  for (const DenseShape shape : {DenseShape{5000, 16, 16}, DenseShape{20000, 8, 8}}) {
    std::vector<float> dz(shape.rows * shape.columns), expected(shape.columns);
    for (size_t i = 0; i < dz.size(); ++i) {
      dz[i] = static_cast<float>(i % 7 + i / shape.columns % 3);
      expected[i % shape.columns] += dz[i];
    }
    Array<Bfloat16> in(narrowed(dz));
    Array<float> sums(shape.columns), scratch(bias_backward_scratch(shape));
    EXPECT_OK(bias_backward(shape, in.data(), sums.data(), scratch.data(), stream()));
    expect_done();
    EXPECT_EQ(sums.values(), expected);
  }
}

TEST_F(DenseCuda, TheGradientBehindTheColumnsIsZeroWhereTheOutputIs) {
  const DenseShape shape{2, 3, 8};
  std::vector<float> y(16), dz(16, NAN);
  for (const size_t at : {0, 1, 2, 8, 9, 10}) y[at] = dz[at] = 1;
  Array<Bfloat16> on_y(narrowed(y)), on_dz(narrowed(dz));
  Array<float> dbias(shape.columns), scratch(bias_backward_scratch(shape));
  EXPECT_OK(bias_relu_backward(shape, on_y.data(), on_dz.data(), dbias.data(), scratch.data(), stream()));
  expect_done();
  EXPECT_EQ(widened(on_dz.values()), y);
  EXPECT_EQ(dbias.values(), (std::vector<float>{2, 2, 2}));
}

TEST_F(DenseCuda, ANumberThatIsNoneStaysOne) {
  const DenseShape shape{1, 2, 8};
  Array<Bfloat16> z(narrowed({NAN, 1, 0, 0, 0, 0, 0, 0})), bias(narrowed({1, 1}));
  EXPECT_OK(bias_relu_forward(shape, bias.data(), z.data(), stream()));
  expect_done();
  EXPECT_TRUE(std::isnan(kernels::to_float(z.values()[0])));
  EXPECT_EQ(kernels::to_float(z.values()[1]), 2);
}

TEST_F(DenseCuda, CopiesRowsOfAnyWidth) {
  for (const size_t columns : {3, 8, 20}) {
    const size_t rows = 17, from_stride = 24, to_stride = columns == 20 ? 28 : 29;
    const auto from = random_values16(rows * from_stride, "from"), more = random_values16(rows * from_stride, "more");
    Array<Bfloat16> on_from(narrowed(from)), on_more(narrowed(more)), to(rows * to_stride);
    Array<float> floats(from), as_floats(rows * to_stride);
    EXPECT_OK(copy_rows(rows, columns, on_from.data(), from_stride, on_more.data(), from_stride, to.data(), to_stride,
                        stream()));
    expect_done();
    const auto sums = to.values();
    EXPECT_OK(copy_rows(rows, columns, floats.data(), from_stride, to.data(), to_stride, stream()));
    EXPECT_OK(copy_rows(rows, columns, floats.data(), from_stride, as_floats.data(), to_stride, stream()));
    expect_done();
    const auto copies = to.values();
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < to_stride; ++c) {
        const size_t at = r * to_stride + c, source = r * from_stride + c;
        if (c >= columns) {
          EXPECT_EQ(copies[at], 0xFFFF) << "behind the columns";
          continue;
        }
        EXPECT_EQ(sums[at], kernels::to_bfloat16(from[source] + more[source]));
        EXPECT_EQ(kernels::to_float(copies[at]), from[source]);
        EXPECT_EQ(as_floats.values()[at], from[source]);
      }
    }
  }
}

TEST_F(DenseCuda, CrossLayerAgreesWithTheReference) {
  for (const auto& shape : kShapes) {
    const size_t count = shape.rows * shape.columns;
    const auto x0 = random_values16(count, "x0"), x = random_values16(count, "x"), u = random_values16(count, "u");
    const auto bias = random_values16(shape.columns, "bias"), dy = random_values16(count, "dy");
    auto dx0 = random_values16(count, "dx0");
    auto on_x0 = on_device(shape, x0), on_x = on_device(shape, x), on_u = on_device(shape, u);
    auto on_dy = on_device(shape, dy), on_dx0 = on_device(shape, dx0), on_bias = Array<Bfloat16>(narrowed(bias));
    Array<Bfloat16> y(shape.rows * shape.stride);
    EXPECT_OK(cross_layer_forward(shape, on_x0.data(), on_x.data(), on_u.data(), on_bias.data(), y.data(), stream()));
    expect_done();
    std::vector<float> map = u, expected(count), du(count), dbias(shape.columns);
    kernels::ref::cross_layer_forward(shape.rows, shape.columns, x0.data(), x.data(), bias.data(), map.data(),
                                      expected.data());
    // A value below 3 is rounded once.
    expect_close(dense(shape, y.values()), expected, 4 * kRounding16);

    const std::vector<Bfloat16> old_u = on_u.values();
    Array<float> on_dbias(shape.columns), scratch(cross_layer_backward_scratch(shape));
    EXPECT_OK(cross_layer_backward(shape, on_x0.data(), on_bias.data(), on_dy.data(), false, on_u.data(), on_dx0.data(),
                                   on_dbias.data(), scratch.data(), stream()));
    expect_done();
    std::vector<float> sum = dx0;
    kernels::ref::cross_layer_gradient(shape.rows, shape.columns, x0.data(), map.data(), dy.data(), du.data(),
                                       sum.data(), dbias.data());
    expect_close(dense(shape, on_dx0.values()), sum, 4 * kRounding16);
    expect_close(dense(shape, on_u.values()), du, kRounding16);
    expect_close(on_dbias.values(), dbias, 90 * kRounding * static_cast<double>(shape.rows));

    Array<Bfloat16> u_again(old_u), first(shape.rows * shape.stride);
    Array<float> dbias_again(shape.columns);
    EXPECT_OK(cross_layer_backward(shape, on_x0.data(), on_bias.data(), on_dy.data(), true, u_again.data(),
                                   first.data(), dbias_again.data(), scratch.data(), stream()));
    expect_done();
    EXPECT_EQ(u_again.values(), on_u.values());
    expect_same_bits(dbias_again.values(), on_dbias.values());
    for (size_t i = 0; i < count; ++i) sum[i] = dy[i] * map[i];
    expect_close(dense(shape, first.values()), sum, 2 * kRounding16);
  }
}

}  // namespace
}  // namespace freshet::cuda
