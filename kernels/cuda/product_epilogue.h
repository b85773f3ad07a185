// The epilogue of a product as a pass of its own over C, for shapes whose epilogue the library cannot fuse, or fuses
// into something slower. C is as Products::run() leaves it with Epilogue::kNone; one more rounding to bfloat16 lies
// between.
#pragma once

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

// What check_product() takes, with an epilogue. Queued on the stream.
Status product_epilogue(const ProductShape& shape, const ProductOperands& operands, CudaStream stream);

}  // namespace freshet::cuda
