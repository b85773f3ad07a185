#include "kernels/cuda/dot_interaction.h"

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

// The second ones lie on no border of 16 bytes, or are of a width that fills no tile.
const std::vector<DotShape> kShapes = {{37, 27, 32, 27 * 32 + 8, 355},
                                       {3, 2, 8, 16, 1},
                                       {5, 16, 24, 16 * 24, 128},
                                       {9, 17, 7, 17 * 7 + 1, 140},
                                       {2, 40, 16, 640, 780}};

using DotInteractionCuda = CudaTest;

TEST_F(DotInteractionCuda, AgreesWithTheReferenceAndRepeats) {
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.vectors) + " vectors of " + std::to_string(shape.dim));
    const auto x = random_values16(shape.rows * shape.x_stride, "x");
    const auto dout = random_values16(shape.rows * shape.out_stride, "dout");
    Array<Bfloat16> on_x(narrowed(x)), on_dout(narrowed(dout)), out(shape.rows * shape.out_stride), dx(x.size());
    EXPECT_OK(dot_interaction_forward(shape, on_x.data(), out.data(), stream()));
    EXPECT_OK(dot_interaction_backward(shape, on_x.data(), on_dout.data(), dx.data(), stream()));
    expect_done();
    std::vector<float> expected(out.size()), expected_dx(dx.size());
    kernels::ref::dot_interaction_forward(shape, x.data(), expected.data());
    kernels::ref::dot_interaction_gradient(shape, x.data(), dout.data(), expected_dx.data());
    const auto products = out.values(), gradient = dx.values();
    for (size_t i = 0; i < products.size(); ++i) {
      if (i % shape.out_stride >= shape.pairs()) {
        EXPECT_EQ(products[i], 0xFFFF) << "behind the pairs";
        continue;
      }
      // Rounded once; the sum of 32 products in float adds little.
      const auto value = static_cast<double>(expected[i]);
      EXPECT_NEAR(static_cast<double>(kernels::to_float(products[i])), value, kRounding16 * std::fabs(value) + 1e-5);
    }
    for (size_t i = 0; i < gradient.size(); ++i) {
      if (i % shape.x_stride >= shape.vectors * shape.dim) {
        EXPECT_EQ(gradient[i], 0xFFFF) << "behind the vectors";
        continue;
      }
      const auto value = static_cast<double>(expected_dx[i]);
      EXPECT_NEAR(static_cast<double>(kernels::to_float(gradient[i])), value, kRounding16 * std::fabs(value) + 1e-5);
    }
    Array<Bfloat16> out_again(out.size()), dx_again(dx.size());
    EXPECT_OK(dot_interaction_forward(shape, on_x.data(), out_again.data(), stream()));
    EXPECT_OK(dot_interaction_backward(shape, on_x.data(), on_dout.data(), dx_again.data(), stream()));
    expect_done();
    EXPECT_EQ(out_again.values(), products);
    EXPECT_EQ(dx_again.values(), gradient);
  }
}

TEST_F(DotInteractionCuda, RefusesVectorsThatDoNotFit) {
  const DotShape shape{1, 128, 2048, 128 * 2048, 128 * 127 / 2};
  EXPECT_EQ(dot_interaction_forward(shape, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
