#include "kernels/matmul.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <string>

#include "kernels/cpu/one_thread.h"

namespace freshet::kernels {

Status matmul(const MatmulShape& shape, const Matrix& a, const Matrix& b, float* c, size_t c_stride) {
  if (shape.m == 0 || shape.n == 0) return Status::ok();
  if (shape.k == 0) {
    for (size_t r = 0; r < shape.m && !shape.accumulate; ++r) std::fill_n(c + r * c_stride, shape.n, 0.0F);
    return Status::ok();
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

}  // namespace freshet::kernels
