// What kernels_bench times: each case makes its arrays and launches one operation of kernels/cuda on them, with the
// shapes of a GPT-2 training step. One thread.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/device.h"

namespace freshet::cuda {

// Device arrays of a case. The first failure makes all later calls return null; status() tells of it.
class Arrays {
 public:
  // Random values in [-scale, scale), a pattern of a million that repeats.
  kernels::Bfloat16* random16(size_t count, float scale = 1);
  float* random(size_t count, float scale = 1);
  int32_t* random_below(size_t count, size_t bound);
  template <class T>
  T* copy_of(const std::vector<T>& values) {
    return static_cast<T*>(filled(values.data(), values.size() * sizeof(T), values.size() * sizeof(T)));
  }
  // Full of NaN, all of which the operation is to overwrite.
  kernels::Bfloat16* output16(size_t count);
  float* output(size_t count);
  float* zeros(size_t count);
  void* scratch(size_t bytes);

  const Status& status() const { return status_; }
  // For what a case has queued on the null stream, which other streams do not wait for.
  Status wait() const;
  // Waits; internal when the beginning or the end of an output still has a NaN in it.
  Status check_outputs(CudaStream stream) const;

 private:
  struct Output {
    const void* data;
    size_t bytes;
    bool is_float;
  };
  void* allocate(size_t bytes);
  void* filled(const void* pattern, size_t pattern_bytes, size_t bytes);

  std::deque<DeviceMemory> memory_;
  std::vector<Output> outputs_;
  Status status_;
};

using Launch = std::function<Status(CudaStream)>;

struct KernelCase {
  std::string group;      // "copy", "ceiling", "product", "attention", "memory"
  std::string name;       // of the function, and its version where there are several
  std::string shape;      // for people
  double bytes = 0;       // the fewest that can pass through device memory: inputs read once, outputs written once
  double operations = 0;  // floating-point, or 0
  std::function<Result<Launch>(Arrays*)> prepare;
};

// Those of GPT-2 124M, unless they are made smaller for a rehearsal.
struct Sizes {
  size_t sequences = 64, length = 1024, heads = 12, head = 64, vocabulary = 50257;
  size_t chunk_rows = 8192;  // of the output matrix, at a time
  size_t parameters = 124'439'808;
  size_t copy_bytes = size_t{2} << 30;
  size_t square = 8192;  // of the product that stands for the ceiling
  bool safe = false;     // without our kernels of wgmma

  size_t rows() const { return sequences * length; }
  size_t width() const { return heads * head; }
};

std::vector<KernelCase> memory_bound_cases(const Sizes& sizes);
std::vector<KernelCase> attention_cases(const Sizes& sizes);
std::vector<KernelCase> product_cases(const Sizes& sizes);

}  // namespace freshet::cuda
