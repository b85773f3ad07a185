#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "kernels/adamw.h"
#include "tests/unit/kernels/support.h"

namespace freshet::kernels {
namespace {

class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<float>& values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(&data_, count_ * sizeof(float) + 16), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  float* data() { return static_cast<float*>(data_); }
  std::vector<float> values() const {
    std::vector<float> values(count_);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, count_ * sizeof(float), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  void* data_ = nullptr;
  size_t count_;
};

class AdamWCuda : public testing::TestWithParam<std::tuple<int, size_t>> {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "there is no CUDA device";
  }
};

// No contraction, and square root and division are rounded correctly on both sides: the bits are those of the CPU.
TEST_P(AdamWCuda, HasTheBitsOfTheCpu) {
  auto [version, count] = GetParam();
  auto w = random_values(count, "w");
  std::vector<float> m(count), v(count);
  DeviceArray dw(w), dm(m), dv(v);
  AdamWStep step;
  step.weight_decay = 0.1F;
  step.gradient_scale = 0.5F;
  for (uint64_t t = 1; t <= 5; ++t) {
    set_corrections(t, &step);
    auto gradient = random_values(count, "gradient " + std::to_string(t), 3);
    DeviceArray dg(gradient);
    adamw(step, count, gradient.data(), w.data(), m.data(), v.data());
    Status status = adamw(step, count, dg.data(), dw.data(), dm.data(), dv.data(), nullptr, version);
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  expect_same_bits(dw.values(), w);
  expect_same_bits(dm.values(), m);
  expect_same_bits(dv.values(), v);
}

INSTANTIATE_TEST_SUITE_P(VersionsAndSizes, AdamWCuda,
                         testing::Combine(testing::Range(0, kAdamWCudaVersions + 1),
                                          testing::Values(1, 3, 257, 4099, 1'000'003)));

TEST(AdamWCudaArguments, AreChecked) {
  AdamWStep step;
  float* misaligned = reinterpret_cast<float*>(uintptr_t{4});
  EXPECT_EQ(adamw(step, 8, misaligned, misaligned, misaligned, misaligned, nullptr, 2).code(), Code::kInvalidArgument);
  EXPECT_EQ(adamw(step, 8, misaligned, misaligned, misaligned, misaligned, nullptr, 9).code(), Code::kInvalidArgument);
  EXPECT_EQ(adamw(step, 8, nullptr, nullptr, nullptr, nullptr, nullptr).code(), Code::kInvalidArgument);
  EXPECT_TRUE(adamw(step, 0, nullptr, nullptr, nullptr, nullptr, nullptr).is_ok());
}

}  // namespace
}  // namespace freshet::kernels
