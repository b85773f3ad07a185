// Device arrays for the tests of kernels/cuda, which run on a GPU with the preset cuda and over the emulation else.
// Tests only.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/cuda/device.h"
#include "tests/unit/kernels/support.h"

namespace freshet::cuda {

using kernels::Bfloat16;
using kernels::expect_close;
using kernels::expect_same_bits;
using kernels::kRounding;
using kernels::random_values;

inline constexpr double kRounding16 = 0x1p-8;  // the relative error of one rounding to bfloat16

// Skips the test where there is no device.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (device_count() == 0) GTEST_SKIP() << "there is no CUDA device";
    auto made = Stream::create();
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    stream_.emplace(*std::move(made));
  }
  CudaStream stream() const { return stream_->get(); }
  // Queued work ended well.
  void expect_done() const {
    Status status = stream_->synchronize();
    ASSERT_TRUE(status.is_ok()) << status.to_string();
  }

  std::optional<Stream> stream_;
};

#define EXPECT_OK(expression)                                \
  do {                                                       \
    const ::freshet::Status ok_status = (expression);        \
    EXPECT_TRUE(ok_status.is_ok()) << ok_status.to_string(); \
  } while (false)

// An array on the device. `Array<float>(5)` is full of NaN.
template <class T>
class Array {
 public:
  explicit Array(size_t count) : Array(poison(count)) {}
  explicit Array(const std::vector<T>& values) : count_(values.size()) {
    auto memory = DeviceMemory::allocate(count_ * sizeof(T));
    CHECK_MSG(memory.is_ok(), memory.status().to_string());
    memory_ = *std::move(memory);
    CHECK(copy_to_device(memory_.data(), values.data(), count_ * sizeof(T), nullptr).is_ok());
    wait();
  }
  T* data() const { return memory_.data<T>(); }
  size_t size() const { return count_; }
  // What all streams have left in it: the caller has waited for them.
  std::vector<T> values() const {
    std::vector<T> values(count_);
    CHECK(copy_to_host(values.data(), memory_.data(), count_ * sizeof(T), nullptr).is_ok());
    wait();
    return values;
  }

 private:
  static std::vector<T> poison(size_t count) {
    std::vector<T> values(count);
    if (count > 0) std::memset(values.data(), 0xFF, count * sizeof(T));
    return values;
  }
  static void wait() {
    auto event = Event::create();
    CHECK(event.is_ok() && event->record(nullptr).is_ok());
    const Status done = event->synchronize();
    CHECK_MSG(done.is_ok(), done.to_string());
  }
  size_t count_;
  DeviceMemory memory_;
};

inline std::vector<Bfloat16> narrowed(const std::vector<float>& values) {
  std::vector<Bfloat16> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) narrow[i] = kernels::to_bfloat16(values[i]);
  return narrow;
}

inline std::vector<float> widened(const std::vector<Bfloat16>& values) {
  std::vector<float> wide(values.size());
  for (size_t i = 0; i < values.size(); ++i) wide[i] = kernels::to_float(values[i]);
  return wide;
}

// random_values() that bfloat16 can hold.
inline std::vector<float> random_values16(size_t count, const std::string& name, float scale = 1.0F) {
  return widened(narrowed(random_values(count, name, scale)));
}

}  // namespace freshet::cuda
