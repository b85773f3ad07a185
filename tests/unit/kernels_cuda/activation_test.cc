#include "kernels/cuda/activation.h"

#include <cmath>

#include "kernels/activation.h"
#include "kernels/cuda/product_epilogue.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using kernels::Tile;

class ActivationCuda : public CudaTest {
 protected:
  // A device's e^x is within 2 + 1.2 |x| units in the last place: 2^-17 for the x here, where |x| < 88. Then an element
  // is rounded to bfloat16. Where terms cancel, what is left is an error relative to the terms: `terms` for each.
  static void expect_rounded(const std::vector<float>& actual, const std::vector<float>& expected,
                             const std::vector<float>& terms) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      const auto value = static_cast<double>(expected[i]);
      ASSERT_NEAR(static_cast<double>(actual[i]), value,
                  std::abs(value) * kRounding16 + std::abs(static_cast<double>(terms[i])) * 0x1p-16)
          << "element " << i;
    }
  }
  // From -10 to 10: the bend in the middle and both straight ends.
  static std::vector<float> wide(size_t count, const std::string& name) { return random_values16(count, name, 10); }

  // d becomes d * gelu'(z), as behind a product; sums[count] of one row.
  Status gelu_gradient(size_t count, Bfloat16* z, Bfloat16* d, float* sums) {
    ProductShape shape{1, count, 1};
    shape.epilogue = Epilogue::kGeluGradient;
    ProductOperands operands;
    operands.c = d;
    operands.c_stride = count;
    operands.z = z;
    operands.bias_gradient = sums;
    if (!scratch_) scratch_.emplace(kProductScratchBytes / sizeof(float));
    return product_epilogue(shape, operands, scratch_->data(), stream());
  }

  std::optional<Array<float>> scratch_;
};

// Counts within a block, over its end, and over a thread's vectors.
constexpr size_t kCounts[] = {8, 64, 4096, 4104, 12288 + 8};

TEST_F(ActivationCuda, GeluAgreesWithTheReference) {
  for (size_t count : kCounts) {
    const auto z = wide(count, "z"), dy = random_values16(count, "dy");
    std::vector<float> kept = z, bias(count, 0), y(count), dz = dy;
    kernels::ref::bias_gelu_forward({1, count, count}, bias.data(), kept.data(), y.data());
    auto again = y;
    kernels::ref::gelu_gradient({1, count, count}, z.data(), dz.data(), again.data());

    Array<Bfloat16> z_in(narrowed(z)), y_out(count);
    for (int time = 0; time < 2; ++time) {
      Array<Bfloat16> d(narrowed(dy));
      Array<float> sums(count);
      EXPECT_OK(gelu_forward(count, z_in.data(), y_out.data(), stream()));
      EXPECT_OK(gelu_gradient(count, z_in.data(), d.data(), sums.data()));
      expect_done();
      expect_rounded(widened(y_out.values()), y, z);
      expect_rounded(widened(d.values()), dz, z);
      expect_rounded(sums.values(), dz, z);
    }
    // In place, the same.
    EXPECT_OK(gelu_forward(count, z_in.data(), z_in.data(), stream()));
    expect_done();
    EXPECT_EQ(z_in.values(), y_out.values());
  }
}

TEST_F(ActivationCuda, GeluIsItselfFarOut) {
  Array<Bfloat16> z(narrowed({-1e4F, -100, -20, 0, 20, 100, 1e4F, 1e9F})), y(size_t{8}),
      d(narrowed(std::vector<float>(8, 1)));
  Array<float> sums(size_t{8});
  EXPECT_OK(gelu_forward(8, z.data(), y.data(), stream()));
  EXPECT_OK(gelu_gradient(8, z.data(), d.data(), sums.data()));
  expect_done();
  const auto z_values = widened(z.values()), values = widened(y.values()), slopes = widened(d.values());
  for (size_t i : {0, 1, 2, 3}) EXPECT_EQ(std::abs(values[i]), 0.0F) << i;
  for (size_t i : {4, 5, 6, 7}) EXPECT_EQ(values[i], z_values[i]) << i;
  EXPECT_EQ(slopes, (std::vector<float>{0, 0, 0, 0.5F, 1, 1, 1, 1}));
}

TEST_F(ActivationCuda, SwigluAgreesWithTheReference) {
  for (auto [rows, columns] : {std::pair{1, 8}, std::pair{3, 64}, std::pair{257, 24}, std::pair{5, 1600}}) {
    const auto r = static_cast<size_t>(rows), c = static_cast<size_t>(columns), count = r * c;
    const auto gate_up = random_values16(2 * count, "gate_up", 6), dy = random_values16(count, "dy");
    std::vector<float> y(count), d_gate_up(2 * count), again = dy, terms(2 * count, 40), y_terms(count, 40);
    const Tile tile{r, c, 2 * c};
    kernels::ref::swiglu_forward(tile, gate_up.data(), gate_up.data() + c, y.data(), c);
    kernels::ref::swiglu_gradient(tile, gate_up.data(), gate_up.data() + c, dy.data(), d_gate_up.data(),
                                  d_gate_up.data() + c, again.data(), c);
    Array<Bfloat16> in(narrowed(gate_up)), dy_in(narrowed(dy)), y_out(count), d_out(2 * count);
    for (int time = 0; time < 2; ++time) {
      EXPECT_OK(swiglu_forward(r, c, in.data(), y_out.data(), stream()));
      EXPECT_OK(swiglu_backward(r, c, in.data(), dy_in.data(), d_out.data(), stream()));
      expect_done();
      // gate and up are below 6: no term is above 6 * 6.
      expect_rounded(widened(y_out.values()), y, y_terms);
      expect_rounded(widened(d_out.values()), d_gate_up, terms);
    }
  }
}

TEST_F(ActivationCuda, DropoutHasTheMaskOfTheCpu) {
  for (size_t count : kCounts) {
    for (uint64_t first : {uint64_t{0}, uint64_t{4}, (uint64_t{1} << 34) - 64}) {
      kernels::Dropout dropout{0.3F, 0x123456789ABCDEF0, 0xFEDCBA9876543210};
      const auto x = random_values16(count, "x");
      auto expected = x;
      kernels::dropout(dropout, first, count, expected.data());
      Array<DropoutPlace> place(std::vector<DropoutPlace>{{dropout.stream, first}});
      dropout.stream = 0;
      Array<Bfloat16> in(narrowed(x)), out(count);
      EXPECT_OK(cuda::dropout(dropout, place.data(), count, in.data(), out.data(), stream()));
      EXPECT_OK(cuda::dropout(dropout, place.data(), count, in.data(), in.data(), stream()));
      expect_done();
      EXPECT_EQ(out.values(), narrowed(expected));
      EXPECT_EQ(in.values(), narrowed(expected));
    }
  }
}

TEST_F(ActivationCuda, DropoutsGradientHasTheSameMaskAndItsSums) {
  for (auto [rows, columns] : {std::pair<size_t, size_t>{1, 8}, {33, 24}, {90, 264}}) {
    kernels::Dropout dropout{0.3F, 5, 0xFEDCBA9876543210};
    const auto dy = random_values16(rows * columns, "dy");
    auto expected = dy;
    kernels::dropout(dropout, 64, expected.size(), expected.data());
    std::vector<float> sums(columns);
    kernels::ref::column_sums({rows, columns, columns}, expected.data(), sums.data());
    Array<DropoutPlace> place(std::vector<DropoutPlace>{{dropout.stream, 64}});
    Array<Bfloat16> in(narrowed(dy)), out(dy.size());
    Array<float> sums_out(columns), again(columns), scratch(dropout_backward_scratch(rows, columns));
    for (auto* to : {&sums_out, &again}) {
      EXPECT_OK(cuda::dropout_backward(dropout, place.data(), rows, columns, in.data(), out.data(), to->data(),
                                       scratch.data(), stream()));
      expect_done();
    }
    EXPECT_EQ(out.values(), narrowed(expected));
    // Running sums of at most `rows` values below 2.
    const auto r = static_cast<double>(rows);
    expect_close(sums_out.values(), sums, r * 2 * r * kRounding);
    expect_same_bits(again.values(), sums_out.values());
  }
}

TEST_F(ActivationCuda, DropoutOfNothingIsACopy) {
  const auto x = narrowed(random_values16(64, "x"));
  Array<DropoutPlace> place(std::vector<DropoutPlace>{{5, 0}});
  Array<Bfloat16> in(x), out(size_t{64});
  EXPECT_OK(dropout({0, 1, 2}, place.data(), 64, in.data(), out.data(), stream()));
  EXPECT_OK(dropout({0, 1, 2}, place.data(), 64, in.data(), in.data(), stream()));
  expect_done();
  EXPECT_EQ(out.values(), x);
  EXPECT_EQ(in.values(), x);
}

TEST_F(ActivationCuda, RefusesWhatItCannotTake) {
  EXPECT_EQ(gelu_forward(12, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
  EXPECT_EQ(swiglu_forward(2, 12, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
  EXPECT_EQ(dropout({1, 1, 2}, nullptr, 8, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
  EXPECT_EQ(dropout({0.5F, 1, 2}, nullptr, 12, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
