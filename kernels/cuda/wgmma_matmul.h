// Our own products of bfloat16 for compute capability 9.0a: what a table of products.h calls "own-...". Each element is
// summed in ascending blocks of 64 of the inner dimension by one warpgroup, so its bits depend on the shape alone.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

// Both have the same bits.
enum class WgmmaTiles { kWide, kNarrow };  // 128 x 256, 128 x 128

// As a table names them.
inline constexpr std::array<std::string_view, 2> kWgmmaTilesNames = {"own-wide", "own-narrow"};
// None when it is another algorithm's name.
inline std::optional<WgmmaTiles> wgmma_tiles_of(std::string_view algorithm) {
  if (algorithm == kWgmmaTilesNames[0]) return WgmmaTiles::kWide;
  if (algorithm == kWgmmaTilesNames[1]) return WgmmaTiles::kNarrow;
  return std::nullopt;
}

// Whether it can compute this on the current device: bfloat16 operands, any layout, result and epilogue, but sums of
// C's columns only where a float for each 64 rows fits into the scratch.
bool wgmma_matmul_takes(const ProductShape& shape);

// What check_product() takes; `scratch` of kProductScratchBytes (product_epilogue.h), unless the shape has no gradient
// of a bias. Queued on the stream. invalid_argument for what wgmma_matmul_takes() does not.
Status wgmma_matmul(const ProductShape& shape, const ProductOperands& operands, WgmmaTiles tiles, float* scratch,
                    CudaStream stream);

}  // namespace freshet::cuda
