// What there is to choose from when a table of products is tuned.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

// The algorithms, as a table names them, that could compute this product: the likely fastest first, at least one.
Result<std::vector<std::string>> product_proposals(const ProductShape& shape, const ProductOperands& operands);

}  // namespace freshet::cuda
