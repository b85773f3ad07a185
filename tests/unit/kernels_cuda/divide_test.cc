#include "kernels/cuda/divide.h"

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using DivideCuda = CudaTest;

TEST_F(DivideCuda, GivesTheQuotientsOfTheCpu) {
  for (size_t count : {0, 1, 127, 128, 1000}) {
    std::vector<double> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = 0.1 * static_cast<double>(i) - 3;
    Array<double> on_device(values);
    EXPECT_OK(divide(count, 7, on_device.data(), stream()));
    expect_done();
    for (double& value : values) value /= 7;
    EXPECT_EQ(on_device.values(), values) << count;
  }
}

}  // namespace
}  // namespace freshet::cuda
