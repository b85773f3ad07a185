// One product by cuBLASLt, with the descriptors that it takes. Row-major matrices are what the library calls transposed
// ones, so the operands change places: D^T[n][m] = op(B)^T * op(A)^T. Built with CUDA only; one thread at a time.
#pragma once

#include <cublasLt.h>

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

struct CublasltDeleter {
  void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
  void operator()(cublasLtMatmulDesc_t description) const { cublasLtMatmulDescDestroy(description); }
  void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
  void operator()(cublasLtMatmulPreference_t preference) const { cublasLtMatmulPreferenceDestroy(preference); }
};
template <class Handle>
using CublasltOwned = std::unique_ptr<std::remove_pointer_t<Handle>, CublasltDeleter>;

Result<CublasltOwned<cublasLtHandle_t>> make_cublaslt();

// Whether it has this epilogue at all; of kGeluGradient it leaves out the sums.
bool cublaslt_has(Epilogue epilogue);

class CublasltProduct {
 public:
  // Of this shape, with an epilogue that it has, and with these strides. `handle` outlives it.
  static Result<CublasltProduct> create(cublasLtHandle_t handle, const ProductShape& shape,
                                        const ProductOperands& operands);

  // Up to `count` algorithms, the likely fastest first, without any that adds parts of a sum in an order of chance or
  // rounds them to the result's type. Empty when the library cannot do it.
  Result<std::vector<cublasLtMatmulAlgo_t>> proposals(int count) const;

  // `workspace`: kProductScratchBytes.
  Status run(const cublasLtMatmulAlgo_t& algorithm, const ProductOperands& operands, void* workspace,
             CudaStream stream);

 private:
  CublasltProduct() = default;
  Status point_to(const ProductOperands& operands);

  cublasLtHandle_t handle_ = nullptr;
  ProductShape shape_;
  CublasltOwned<cublasLtMatmulDesc_t> description_;
  CublasltOwned<cublasLtMatrixLayout_t> a_, b_, c_;  // ours, as the library sees them
};

// An algorithm in hexadecimal, and back; invalid_argument when it is none.
std::string algorithm_text(const cublasLtMatmulAlgo_t& algorithm);
Result<cublasLtMatmulAlgo_t> algorithm_of(std::string_view text);

}  // namespace freshet::cuda
