#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "bench/gpu/kernel_cases.h"

namespace freshet::cuda {
namespace {

using kernels::Bfloat16;

constexpr size_t kPattern = size_t{1} << 20;  // elements

// A cheap generator: the values only have to be random, not reproducible anywhere else.
std::vector<float> pattern(size_t count) {
  std::vector<float> values(std::min(count, kPattern));
  Philox philox(1, stream_of("kernels_bench"));
  for (size_t i = 0; i < values.size(); i += 4) {
    const auto words = philox.block(i / 4);
    for (size_t j = i; j < std::min(i + 4, values.size()); ++j) {
      values[j] = static_cast<float>(words[j - i] >> 8) * 0x1p-23F - 1.0F;
    }
  }
  return values;
}

Status wait_for(CudaStream stream) {
  ASSIGN_OR_RETURN(auto event, Event::create());
  RETURN_IF_ERROR(event.record(stream));
  return event.synchronize();
}

}  // namespace

void* Arrays::allocate(size_t bytes) {
  if (!status_.is_ok()) return nullptr;
  auto made = DeviceMemory::allocate(bytes);
  if (!made.is_ok()) {
    status_ = made.status();
    return nullptr;
  }
  memory_.push_back(*std::move(made));
  return memory_.back().data();
}

void* Arrays::filled(const void* pattern, size_t pattern_bytes, size_t bytes) {
  void* const data = allocate(bytes);
  if (data == nullptr) return nullptr;
  auto* const begin = static_cast<std::byte*>(data);
  size_t done = std::min(pattern_bytes, bytes);
  status_ = copy_to_device(begin, pattern, done, nullptr);
  while (status_.is_ok() && done < bytes) {
    const size_t more = std::min(done, bytes - done);
    status_ = copy_on_device(begin + done, begin, more, nullptr);
    done += more;
  }
  // `pattern` may go when this returns.
  if (status_.is_ok()) status_ = wait_for(nullptr);
  return status_.is_ok() ? data : nullptr;
}

Bfloat16* Arrays::random16(size_t count, float scale) {
  const auto values = pattern(count);
  std::vector<Bfloat16> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) narrow[i] = kernels::to_bfloat16(scale * values[i]);
  return static_cast<Bfloat16*>(filled(narrow.data(), narrow.size() * sizeof(Bfloat16), count * sizeof(Bfloat16)));
}

float* Arrays::random(size_t count, float scale) {
  auto values = pattern(count);
  for (float& value : values) value *= scale;
  return static_cast<float*>(filled(values.data(), values.size() * sizeof(float), count * sizeof(float)));
}

int32_t* Arrays::random_below(size_t count, size_t bound) {
  Philox philox(2, stream_of("kernels_bench"));
  std::vector<int32_t> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<int32_t>(philox.below(i, bound));
  return copy_of(values);
}

Bfloat16* Arrays::output16(size_t count) {
  auto* const data = static_cast<Bfloat16*>(scratch(count * sizeof(Bfloat16)));
  outputs_.push_back({data, count * sizeof(Bfloat16), false});
  return data;
}

float* Arrays::output(size_t count) {
  auto* const data = static_cast<float*>(scratch(count * sizeof(float)));
  outputs_.push_back({data, count * sizeof(float), true});
  return data;
}

float* Arrays::zeros(size_t count) {
  const std::vector<float> zero(std::min(count, kPattern));
  return static_cast<float*>(filled(zero.data(), zero.size() * sizeof(float), count * sizeof(float)));
}

Status Arrays::wait() const { return wait_for(nullptr); }

void* Arrays::scratch(size_t bytes) {
  void* const data = allocate(std::max(bytes, size_t{16}));
  if (data != nullptr) status_ = fill_bytes(data, 0xFF, bytes, nullptr);
  if (status_.is_ok()) status_ = wait_for(nullptr);
  return data;
}

Status Arrays::check_outputs(CudaStream stream) const {
  RETURN_IF_ERROR(wait_for(stream));
  for (const Output& output : outputs_) {
    const size_t part = std::min(output.bytes, size_t{64} << 10);
    for (size_t first : {size_t{0}, output.bytes - part}) {
      std::vector<std::byte> bytes(part);
      RETURN_IF_ERROR(copy_to_host(bytes.data(), static_cast<const std::byte*>(output.data) + first, part, nullptr));
      RETURN_IF_ERROR(wait_for(nullptr));
      for (size_t i = 0; i + 4 <= part; i += 4) {
        float whole = 0;
        Bfloat16 halves[2];
        std::memcpy(&whole, &bytes[i], 4);
        std::memcpy(halves, &bytes[i], 4);
        const bool bad = output.is_float ? std::isnan(whole)
                                         : std::isnan(kernels::to_float(halves[0]) + kernels::to_float(halves[1]));
        if (bad) return internal("byte " + std::to_string(first + i) + " of an output is no number");
      }
    }
  }
  return Status::ok();
}

}  // namespace freshet::cuda
