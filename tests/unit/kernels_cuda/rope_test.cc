#include "kernels/cuda/rope.h"

#include <cmath>
#include <tuple>

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using kernels::RopeShape;

// rows, heads, size, stride, length
class RopeCuda : public CudaTest, public testing::WithParamInterface<std::tuple<int, int, int, int, int>> {
 protected:
  static size_t value(int i) { return static_cast<size_t>(i); }
  const RopeShape shape_{value(std::get<0>(GetParam())), value(std::get<1>(GetParam())), value(std::get<2>(GetParam())),
                         value(std::get<3>(GetParam()))};
  const size_t length_ = value(std::get<4>(GetParam()));
  // The last row ends with its heads.
  const std::vector<float> x_ = random_values16(shape_.rows * shape_.stride, "x");
};

TEST_P(RopeCuda, AgreesWithTheReference) {
  const Array<float> table(kernels::rope_table(length_, shape_.size, 10000));
  for (bool backwards : {false, true}) {
    auto expected = x_;
    for (size_t row = 0; row < shape_.rows; ++row) {
      RopeShape one = shape_;
      one.rows = 1;
      kernels::ref::rope(one, 10000, row % length_, backwards, expected.data() + row * shape_.stride);
    }
    std::vector<Bfloat16> first;
    for (int time = 0; time < 2; ++time) {
      Array<Bfloat16> x(narrowed(x_));
      EXPECT_OK((backwards ? rope_backward : rope_forward)(shape_, length_, table.data(), x.data(), stream()));
      expect_done();
      const auto actual = widened(x.values());
      for (size_t i = 0; i < actual.size(); ++i) {
        const auto v = static_cast<double>(expected[i]);
        // Two products with a rounded sine or cosine, an addition, and the rounding to bfloat16.
        ASSERT_NEAR(static_cast<double>(actual[i]), v, std::abs(v) * kRounding16 + 6 * kRounding) << i;
        if (i % shape_.stride >= shape_.heads * shape_.size) {
          ASSERT_EQ(actual[i], x_[i]) << i;
        }
      }
      if (time == 0) first = x.values();
      EXPECT_EQ(x.values(), first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, RopeCuda,
                         testing::Values(std::tuple{1, 1, 16, 16, 1}, std::tuple{7, 3, 16, 56, 3},
                                         std::tuple{33, 12, 64, 768, 16}, std::tuple{5, 5, 128, 896, 5},
                                         std::tuple{257, 4, 32, 128, 100}));

using RopeChecksCuda = CudaTest;

TEST_F(RopeChecksCuda, RefuseWhatTheyCannotTake) {
  for (const RopeShape& shape : {RopeShape{1, 1, 8, 8}, RopeShape{1, 1, 16, 20}, RopeShape{1, 2, 16, 16}}) {
    EXPECT_EQ(rope_forward(shape, 1, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
  }
  EXPECT_EQ(rope_forward({1, 1, 16, 16}, 0, nullptr, nullptr, stream()).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace freshet::cuda
