// The epilogue of a product as a pass of its own over C, for shapes whose epilogue the library cannot fuse, or fuses
// into something slower. C is as Products::run() leaves it with Epilogue::kNone; one more rounding to bfloat16 lies
// between.
//
// The gradient of a bias is a sum over all rows of dy. In bytes for each element of dy, beside the product's own:
//   - dy leaves a product with gelu's or relu's gradient: 0.13 where our own product sums as well (wgmma_matmul.h); 2
//     where the library has made that gradient and product_sums() follows; 6 for product_epilogue().
//   - dy comes from elsewhere and goes into the gradient of its weights: 0 where the library sums as well (BGRADA, in
//     float), 2 for product_epilogue(). The former has been seen to slow down the product itself by more than that
//     (NVIDIA/CUDALibrarySamples, issue 90), so that it is taken only where tuning finds it faster.
// The library's DGELU_BGRAD is left out: it rounds the sums to the type of C, bfloat16, and does not say in which order
// it adds up the parts of its blocks. Its DRELU_BGRAD wants a mask of bits that the forward product has to write; zeros
// of relu's own output say the same.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

// What a table says behind an algorithm that computes the bare product.
inline constexpr std::string_view kSeparateEpilogue = "+epilogue";

// Of `scratch` here and in wgmma_matmul(): device memory that holds nothing for longer than a product.
inline constexpr size_t kProductScratchBytes = size_t{32} << 20;

// The bare product.
ProductShape without_epilogue(ProductShape shape);
ProductOperands without_epilogue(ProductOperands operands);

// What check_product() takes, with an epilogue. Queued on the stream.
Status product_epilogue(const ProductShape& shape, const ProductOperands& operands, float* scratch, CudaStream stream);

// The sums of kGeluGradient and kReluGradient alone, over a C that is done.
Status product_sums(const ProductShape& shape, const ProductOperands& operands, float* scratch, CudaStream stream);

}  // namespace freshet::cuda
