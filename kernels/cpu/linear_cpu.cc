#include "kernels/linear.h"

#include <oneapi/dnnl/dnnl.h>

#include "kernels/matmul.h"

namespace freshet::kernels {

Status linear_forward(const LinearShape& shape, const float* x, const float* w, float* y) {
  return matmul({shape.rows, shape.outputs, shape.inputs}, {x, shape.inputs}, {w, shape.inputs, true}, y,
                shape.outputs);
}

Status linear_input_gradient(const LinearShape& shape, const float* dy, const float* w, float* dx) {
  return matmul({shape.rows, shape.inputs, shape.outputs}, {dy, shape.outputs}, {w, shape.inputs}, dx, shape.inputs);
}

Status linear_weight_gradient(const LinearShape& shape, const float* dy, const float* x, float* dw) {
  return matmul({shape.outputs, shape.inputs, shape.rows}, {dy, shape.outputs, true}, {x, shape.inputs}, dw,
                shape.inputs);
}

std::string linear_library() {
  const dnnl_version_t* version = dnnl_version();
  return "oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

std::string instruction_set() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "sse41";
    case dnnl_cpu_isa_avx:
      return "avx";
    case dnnl_cpu_isa_avx2:
      return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
      return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
      return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "isa_" + std::to_string(dnnl_get_effective_cpu_isa());
  }
}

}  // namespace freshet::kernels
