// Version 1 (attention_forward.cu, attention_backward.cu): mma.sync with operands that cp.async brings while those
// before them are worked on; any device from sm_80 on.
//
// Version 2 (attention_forward_wgmma.cu, attention_backward_wgmma.cu): wgmma with operands that the copy engine brings;
// compute capability 9.0, where it is taken for every shape.
#include "kernels/cuda/attention.h"

#include <cstdint>
#include <string>

#include "kernels/cuda/attention_versions.h"
#include "kernels/cuda/device.h"

namespace freshet::cuda {
namespace {

constexpr size_t kGridMax = 65535;  // blocks along y and z

bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

Status check_shape(const AttentionShape& shape, int version) {
  if (version < 0 || version > kAttentionVersions) {
    return invalid_argument("attention has no version " + std::to_string(version));
  }
  if (shape.size != 64 && shape.size != 128) {
    return invalid_argument("attention on a device takes heads of 64 or 128, not of " + std::to_string(shape.size));
  }
  if (shape.kv_heads == 0 || shape.heads == 0 || shape.heads % shape.kv_heads != 0) {
    return invalid_argument(std::to_string(shape.kv_heads) + " key-value heads do not divide " +
                            std::to_string(shape.heads) + " heads");
  }
  if (shape.length == 0 || shape.length > (1U << 30)) {
    return invalid_argument("attention over " + std::to_string(shape.length) + " tokens");
  }
  if (shape.sequences > kGridMax || shape.heads > kGridMax) {
    return invalid_argument("attention takes at most 65535 sequences and as many heads");
  }
  if (shape.stride % 8 != 0 || shape.out_stride % 8 != 0 || shape.stride < shape.heads * shape.size ||
      shape.out_stride < shape.heads * shape.size) {
    return invalid_argument("attention's strides are multiples of 8 and hold all heads");
  }
  if (version == 2 && !has_wgmma()) return invalid_argument("attention's version 2 needs compute capability 9.0");
  return Status::ok();
}

}  // namespace

Status attention_forward(const AttentionShape& shape, const Bfloat16* q, const Bfloat16* k, const Bfloat16* v,
                         Bfloat16* out, float* log_sum, CudaStream stream, int version) {
  RETURN_IF_ERROR(check_shape(shape, version));
  if (!is_aligned(q) || !is_aligned(k) || !is_aligned(v) || !is_aligned(out)) {
    return invalid_argument("attention's matrices lie on borders of 16 bytes");
  }
  if (shape.sequences == 0) return Status::ok();
  const AttentionForward call{shape, q, k, v, out, log_sum};
  return version == 1 || !has_wgmma() ? attention_forward_mma(call, stream) : attention_forward_wgmma(call, stream);
}

size_t attention_backward_scratch(const AttentionShape& shape) {
  return 2 * shape.sequences * shape.heads * padded_length(shape) * sizeof(float);
}

Status attention_backward(const AttentionShape& shape, const Bfloat16* q, const Bfloat16* k, const Bfloat16* v,
                          const Bfloat16* out, const float* log_sum, const Bfloat16* dout, Bfloat16* dq, Bfloat16* dk,
                          Bfloat16* dv, void* scratch, CudaStream stream, int version) {
  RETURN_IF_ERROR(check_shape(shape, version));
  for (const void* pointer :
       {static_cast<const void*>(q), static_cast<const void*>(k), static_cast<const void*>(v),
        static_cast<const void*>(out), static_cast<const void*>(dout), static_cast<const void*>(dq),
        static_cast<const void*>(dk), static_cast<const void*>(dv), static_cast<const void*>(scratch)}) {
    if (!is_aligned(pointer)) return invalid_argument("attention's matrices lie on borders of 16 bytes");
  }
  if (shape.sequences == 0) return Status::ok();
  const AttentionBackward call{shape, q, k, v, out, dout, log_sum, dq, dk, dv, static_cast<float*>(scratch)};
  RETURN_IF_ERROR(attention_statistics(call, stream));
  if (version == 1 || !has_wgmma()) return attention_backward_mma(call, stream);
  return attention_backward_wgmma(call, stream);
}

}  // namespace freshet::cuda
