// Our own products of bfloat16 for compute capability 9.0a: what a table of products.h calls "own". Each element is
// summed in ascending blocks of 64 of the inner dimension by one warpgroup, so its bits depend on the shape alone.
#pragma once

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

// Whether it can compute this on the current device: bfloat16 operands, any layout, result and epilogue.
bool wgmma_matmul_takes(const ProductShape& shape);

// What check_product() takes. Queued on the stream. invalid_argument for what wgmma_matmul_takes() does not.
Status wgmma_matmul(const ProductShape& shape, const ProductOperands& operands, CudaStream stream);

}  // namespace freshet::cuda
