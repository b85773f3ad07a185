#include "kernels/matmul.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <string>

#include "kernels/cpu/one_thread.h"
#include "kernels/cpu/onednn_matmul.h"
#include "kernels/linear.h"

namespace freshet::kernels {
namespace {

// True when there is nothing to sum: C is done.
bool is_empty(const MatmulShape& shape, float* c, size_t c_stride) {
  if (shape.m == 0 || shape.n == 0) return true;
  if (shape.k != 0) return false;
  for (size_t r = 0; r < shape.m && !shape.accumulate; ++r) std::fill_n(c + r * c_stride, shape.n, 0.0F);
  return true;
}

// The library's two ways differ in how they read a transposed B: its primitive is a tenth faster where B is large, its
// function costs less where it is small.
bool suits_primitive(const MatmulShape& shape, bool b_transposed) {
  return b_transposed && shape.m >= 64 && shape.n * shape.k >= size_t{128} * 768;
}

}  // namespace

Status matmul(const MatmulShape& shape, const Matrix& a, const Matrix& b, float* c, size_t c_stride) {
  if (is_empty(shape, c, c_stride)) return Status::ok();
  if (suits_primitive(shape, b.transposed)) {
    return onednn_matmul(shape, OperandType::kFloat32, {a.data, a.stride, a.transposed},
                         {b.data, b.stride, b.transposed}, c, c_stride);
  }
  keep_products_on_this_thread();
  using Dim = dnnl_dim_t;
  dnnl_status_t status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', static_cast<Dim>(shape.m),
                 static_cast<Dim>(shape.n), static_cast<Dim>(shape.k), 1.0F, a.data, static_cast<Dim>(a.stride), b.data,
                 static_cast<Dim>(b.stride), shape.accumulate ? 1.0F : 0.0F, c, static_cast<Dim>(c_stride));
  if (status == dnnl_success) return Status::ok();
  return internal("oneDNN could not multiply [" + std::to_string(shape.m) + "][" + std::to_string(shape.k) + "] by [" +
                  std::to_string(shape.k) + "][" + std::to_string(shape.n) + "] (status " + std::to_string(status) +
                  ")");
}

Status matmul(const MatmulShape& shape, const Matrix16& a, const Matrix16& b, float* c, size_t c_stride) {
  if (is_empty(shape, c, c_stride)) return Status::ok();
  return onednn_matmul(shape, OperandType::kBfloat16, {a.data, a.stride, a.transposed},
                       {b.data, b.stride, b.transposed}, c, c_stride);
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
