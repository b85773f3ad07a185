#include "kernels/float8.h"
#include "kernels/matmul.h"
#include "tests/unit/kernels_cuda/support.h"
#include "tests/unit/kernels_cuda/wgmma_kernels.h"

namespace freshet::cuda {
namespace {

class Wgmma : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped() && !has_wgmma()) GTEST_SKIP() << "it is of compute capability 9.0a alone";
  }
  void expect_product(const WarpgroupTest& test) {
    SCOPED_TRACE(testing::Message() << "n " << test.n << (test.is_float8 ? ", 8 bits" : "")
                                    << (test.a_mn_major ? ", A is [k][m]" : "")
                                    << (test.b_mn_major ? ", B is [k][n]" : "")
                                    << (test.a_in_registers ? ", A in registers" : ""));
    const auto n = static_cast<size_t>(test.n);
    auto a = random_values16(64 * test.k, "a"), b = random_values16(n * test.k, "b");
    std::vector<kernels::Float8> a8, b8;
    if (test.is_float8) {
      for (auto [values, bytes] : {std::pair{&a, &a8}, {&b, &b8}}) {
        for (float& value : *values) {
          bytes->push_back(kernels::to_float8(value));
          value = kernels::float8_to_float(bytes->back());
        }
      }
    }
    std::vector<float> expected(64 * n);
    kernels::ref::matmul({64, n, test.k}, {a.data(), test.a_mn_major ? 64 : test.k, test.a_mn_major},
                         {b.data(), test.b_mn_major ? n : test.k, !test.b_mn_major}, expected.data(), n);
    Array<Bfloat16> a_device(narrowed(a)), b_device(narrowed(b));
    Array<kernels::Float8> a8_device(a8), b8_device(b8);
    Array<float> d(64 * n);
    EXPECT_OK(run_warpgroup_test(test, test.is_float8 ? static_cast<void*>(a8_device.data()) : a_device.data(),
                                 test.is_float8 ? static_cast<void*>(b8_device.data()) : b_device.data(), d.data(),
                                 stream()));
    expect_done();
    // Sums of 8-bit products are kept to 13 bits behind the point (products_support.h).
    const double tolerance = test.is_float8 ? 0x1p-11 : static_cast<double>(test.k) * kRounding * 4;
    expect_close(d.values(), expected, static_cast<double>(test.k) * tolerance);
  }
};

TEST_F(Wgmma, RowsOfTheInnerDimension) {
  for (int n : {64, 128, 192, 256}) expect_product({n, 192});
}
TEST_F(Wgmma, ColumnsOfTheInnerDimension) {
  for (int n : {64, 192}) {
    expect_product({n, 128, false, true, false});
    expect_product({n, 128, false, false, true});
    expect_product({n, 128, false, true, true});
  }
}
TEST_F(Wgmma, RegistersTimesSharedMemory) {
  expect_product({64, 192, false, false, false, true});
  expect_product({128, 192, false, false, true, true});
}
TEST_F(Wgmma, EightBits) {
  for (int n : {128, 256}) expect_product({n, 256, true});
}

// Tiles over the ends of an array: what is outside is neither read nor written.
TEST_F(Wgmma, TilesAreMovedAsTheyAre) {
  for (bool is_swizzled : {false, true}) {
    for (unsigned rank : {2U, 3U, 4U}) {
      TensorMapShape from;
      from.element = TensorMapShape::Element::kFloat32;
      from.rank = rank;
      from.is_swizzled = is_swizzled;
      from.extents = {50, 7, 5, 3};
      from.strides = {1, 64, 64 * 8, 64 * 8 * 6};
      from.box = {32, 4, 2, 3};
      const size_t count = 64 * 8 * 6 * 3;
      const auto values = random_values(count, "values");
      std::vector<float> expected(count, 0);
      for (size_t i = 0; i < count; ++i) {
        const size_t x = i % 64, y = i / 64 % 8, z = i / 512 % 6, w = i / 3072;
        const bool is_inside = x < 50 && y < 7 && (rank < 3 ? z == 0 : z < 5) && (rank < 4 ? w == 0 : true);
        if (is_inside) expected[i] = values[i];
      }
      Array<float> source(values), target(std::vector<float>(count, 0));
      TensorMapShape to = from;
      from.data = source.data();
      to.data = target.data();
      EXPECT_OK(move_tiles(from, to, stream()));
      expect_done();
      EXPECT_EQ(target.values(), expected) << rank << is_swizzled;
    }
  }
}

}  // namespace
}  // namespace freshet::cuda
