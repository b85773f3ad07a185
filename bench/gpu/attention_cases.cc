#include <algorithm>

#include "bench/gpu/kernel_cases.h"
#include "kernels/cuda/attention.h"

namespace freshet::cuda {
namespace {

using kernels::Bfloat16;

// Causal: half of all pairs. Two products forward, five backward.
double operations(const AttentionShape& shape, int products) {
  const auto pairs = static_cast<double>(shape.sequences * shape.heads) * static_cast<double>(shape.length) *
                     static_cast<double>(shape.length) / 2;
  return products * 2 * pairs * static_cast<double>(shape.size);
}

struct Tensors {
  Bfloat16 *q, *k, *v, *out;
  float* log_sum;
};

// q, k and v side by side in one matrix, as the model has them.
Tensors make(const AttentionShape& shape, Arrays* arrays, bool out_is_input) {
  const size_t rows = shape.sequences * shape.length, out = rows * shape.out_stride;
  Bfloat16* const q = arrays->random16(rows * shape.stride);
  Bfloat16* const k = q == nullptr ? nullptr : q + shape.heads * shape.size;
  return {q, k, k == nullptr ? nullptr : k + shape.kv_heads * shape.size,
          out_is_input ? static_cast<Bfloat16*>(arrays->scratch(out * sizeof(Bfloat16))) : arrays->output16(out),
          static_cast<float*>(arrays->scratch(rows * shape.heads * sizeof(float)))};
}

KernelCase forward(const AttentionShape& shape, const std::string& text, int version) {
  KernelCase made{"attention", "attention_forward", text, 0, operations(shape, 2), {}};
  made.prepare = [shape, version](Arrays* arrays) -> Result<Launch> {
    const Tensors t = make(shape, arrays, false);
    RETURN_IF_ERROR(arrays->status());
    return Launch(
        [=](CudaStream stream) { return attention_forward(shape, t.q, t.k, t.v, t.out, t.log_sum, stream, version); });
  };
  return made;
}

KernelCase backward(const AttentionShape& shape, const std::string& text, int version) {
  KernelCase made{"attention", "attention_backward", text, 0, operations(shape, 5), {}};
  made.prepare = [shape, version](Arrays* arrays) -> Result<Launch> {
    const size_t rows = shape.sequences * shape.length;
    const Tensors t = make(shape, arrays, true);
    const Bfloat16* const dout = arrays->random16(rows * shape.out_stride);
    Bfloat16* const dq = arrays->output16(rows * shape.stride);
    void* const scratch = arrays->scratch(attention_backward_scratch(shape));
    RETURN_IF_ERROR(arrays->status());
    RETURN_IF_ERROR(attention_forward(shape, t.q, t.k, t.v, t.out, t.log_sum, nullptr, version));
    RETURN_IF_ERROR(arrays->wait());
    Bfloat16* const dk = dq + shape.heads * shape.size;
    Bfloat16* const dv = dk + shape.kv_heads * shape.size;
    return Launch([=](CudaStream stream) {
      return attention_backward(shape, t.q, t.k, t.v, t.out, t.log_sum, dout, dq, dk, dv, scratch, stream, version);
    });
  };
  return made;
}

}  // namespace

std::vector<KernelCase> attention_cases(const Sizes& sizes) {
  std::vector<KernelCase> cases;
  for (const size_t size : {size_t{64}, size_t{128}}) {
    AttentionShape shape{sizes.sequences, sizes.length, 0, 0, size, 0, 0};
    shape.heads = shape.kv_heads = std::max(size_t{1}, sizes.heads * 64 / size);
    shape.stride = 3 * shape.heads * size;
    shape.out_stride = shape.heads * size;
    const int first = sizes.safe ? 1 : 0, last = sizes.safe ? 1 : kAttentionVersions;
    for (int version = first; version <= last; ++version) {
      const std::string text =
          "head " + std::to_string(size) + (version == first ? "" : ", version " + std::to_string(version));
      cases.push_back(forward(shape, text, version));
      cases.push_back(backward(shape, text, version));
    }
  }
  return cases;
}

}  // namespace freshet::cuda
