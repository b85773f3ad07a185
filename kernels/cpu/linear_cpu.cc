#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "kernels/linear.h"

namespace freshet::kernels {
namespace {

// C[m][n] = op(A) * op(B). oneDNN takes its number of threads from OpenMP's setting of the calling thread.
Status multiply(char transpose_a, char transpose_b, size_t m, size_t n, size_t k, const float* a, size_t lda,
                const float* b, size_t ldb, float* c, const char* what) {
  if (m == 0 || n == 0) return Status::ok();
  if (k == 0) {
    std::fill(c, c + m * n, 0.0F);
    return Status::ok();
  }
  thread_local const bool alone = [] {
    omp_set_num_threads(1);
    return true;
  }();
  (void)alone;
  using Dim = dnnl_dim_t;
  dnnl_status_t status =
      dnnl_sgemm(transpose_a, transpose_b, static_cast<Dim>(m), static_cast<Dim>(n), static_cast<Dim>(k), 1.0F, a,
                 static_cast<Dim>(lda), b, static_cast<Dim>(ldb), 0.0F, c, static_cast<Dim>(n));
  if (status != dnnl_success) {
    return internal(std::string("oneDNN could not compute ") + what + " (status " + std::to_string(status) + ")");
  }
  return Status::ok();
}

}  // namespace

Status linear_forward(const LinearShape& shape, const float* x, const float* w, float* y) {
  return multiply('N', 'T', shape.rows, shape.outputs, shape.inputs, x, shape.inputs, w, shape.inputs, y,
                  "a layer's output");
}

Status linear_input_gradient(const LinearShape& shape, const float* dy, const float* w, float* dx) {
  return multiply('N', 'N', shape.rows, shape.inputs, shape.outputs, dy, shape.outputs, w, shape.inputs, dx,
                  "a layer's input gradient");
}

Status linear_weight_gradient(const LinearShape& shape, const float* dy, const float* x, float* dw) {
  return multiply('T', 'N', shape.outputs, shape.inputs, shape.rows, dy, shape.outputs, x, shape.inputs, dw,
                  "a layer's weight gradient");
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
