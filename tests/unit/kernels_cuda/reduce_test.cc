#include "kernels/cuda/reduce.h"

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using ReduceCuda = CudaTest;

TEST_F(ReduceCuda, AddsWithTheBitsOfTheCpu) {
  for (size_t count : {1, 3, 4, 1027, 70001}) {
    auto a = random_values(count, "a"), b = random_values(count, "b");
    Array<float> da(a), db(b);
    EXPECT_OK(tree_add(count, db.data(), da.data(), stream()));
    expect_done();
    kernels::tree_add(count, b.data(), a.data());
    expect_same_bits(da.values(), a);
  }
}

TEST_F(ReduceCuda, SquaresWithTheBitsOfTheCpu) {
  for (size_t count : {1, 7, 1024, 1025, 70001}) {
    const auto values = random_values(count, "values");
    const size_t blocks = (count + kernels::kBlock - 1) / kernels::kBlock;
    Array<float> on_device(values);
    Array<double> sums(blocks);
    EXPECT_OK(block_sums_of_squares(count, on_device.data(), sums.data(), stream()));
    expect_done();
    std::vector<double> expected(blocks);
    kernels::block_sums_of_squares(count, values.data(), expected.data());
    EXPECT_EQ(sums.values(), expected) << count;
  }
}

}  // namespace
}  // namespace freshet::cuda
