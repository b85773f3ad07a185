#include "kernels/cuda/cublaslt.h"

#include <charconv>
#include <cstring>
#include <utility>

#include "base/sha256.h"
#include "kernels/cuda/product_epilogue.h"

namespace freshet::cuda {
namespace {

Status checked(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return Status::ok();
  return internal(std::string(call) + " failed: " + cublasLtGetStatusString(status));
}

template <class Value>
Status set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  return checked(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(value)),
                 "cublasLtMatmulDescSetAttribute");
}

template <class Value>
Status set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
  return checked(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
                 "cublasLtMatmulPreferenceSetAttribute");
}

cudaDataType_t type_of(Type type) {
  switch (type) {
    case Type::kBfloat16:
      return CUDA_R_16BF;
    case Type::kFloat32:
      return CUDA_R_32F;
    case Type::kFloat8:
      return CUDA_R_8F_E4M3;
  }
  return CUDA_R_32F;
}

cublasLtEpilogue_t epilogue_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kNone:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::kBiasGelu:
      return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case Epilogue::kGeluGradient:
      return CUBLASLT_EPILOGUE_DGELU;
    case Epilogue::kBiasRelu:
      return CUBLASLT_EPILOGUE_RELU_BIAS;
    case Epilogue::kReluGradient:
      break;
    case Epilogue::kBiasGradient:
      return CUBLASLT_EPILOGUE_BGRADA;  // our B is its A
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

// `rows` of `columns` in row-major order: the library's matrix of as many columns.
Result<CublasltOwned<cublasLtMatrixLayout_t>> make_layout(Type type, size_t rows, size_t columns, size_t stride) {
  cublasLtMatrixLayout_t made = nullptr;
  RETURN_IF_ERROR(checked(cublasLtMatrixLayoutCreate(&made, type_of(type), columns, rows, static_cast<int64_t>(stride)),
                          "cublasLtMatrixLayoutCreate"));
  return CublasltOwned<cublasLtMatrixLayout_t>(made);
}

// Parts of a sum that were computed side by side are added in their order, in float.
bool has_fixed_order(const cublasLtMatmulAlgo_t& algorithm) {
  uint32_t scheme = 0;
  size_t written = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                                     &scheme, sizeof(scheme), &written);
  return status == CUBLAS_STATUS_SUCCESS &&
         (scheme == CUBLASLT_REDUCTION_SCHEME_NONE || scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
}

}  // namespace

bool cublaslt_has(Epilogue epilogue) { return epilogue != Epilogue::kReluGradient; }

Result<CublasltOwned<cublasLtHandle_t>> make_cublaslt() {
  cublasLtHandle_t made = nullptr;
  RETURN_IF_ERROR(checked(cublasLtCreate(&made), "cublasLtCreate"));
  return CublasltOwned<cublasLtHandle_t>(made);
}

Result<CublasltProduct> CublasltProduct::create(cublasLtHandle_t handle, const ProductShape& shape,
                                                const ProductOperands& operands) {
  CublasltProduct product;
  product.handle_ = handle;
  product.shape_ = shape;
  cublasLtMatmulDesc_t description = nullptr;
  RETURN_IF_ERROR(
      checked(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate"));
  product.description_.reset(description);
  const cublasOperation_t first = shape.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = shape.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_TRANSA, first));
  RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_TRANSB, second));
  RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(shape.epilogue)));
  if (operands.bias) RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF));
  if (shape.epilogue == Epilogue::kBiasGradient) {
    RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F));
  }
  if (operands.z) {
    const auto stride = static_cast<int64_t>(operands.c_stride);
    RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, stride));
    RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, CUDA_R_16BF));
  }
  // The proposals depend on the borders of what these point to.
  RETURN_IF_ERROR(product.point_to(operands));
  const size_t a_rows = shape.a_transposed ? shape.k : shape.m, a_columns = shape.a_transposed ? shape.m : shape.k;
  const size_t b_rows = shape.b_transposed ? shape.n : shape.k, b_columns = shape.b_transposed ? shape.k : shape.n;
  ASSIGN_OR_RETURN(product.a_, make_layout(shape.operands, a_rows, a_columns, operands.a_stride));
  ASSIGN_OR_RETURN(product.b_, make_layout(shape.operands, b_rows, b_columns, operands.b_stride));
  ASSIGN_OR_RETURN(product.c_, make_layout(shape.result, shape.m, shape.n, operands.c_stride));
  return product;
}

Status CublasltProduct::point_to(const ProductOperands& operands) {
  cublasLtMatmulDesc_t description = description_.get();
  if (operands.bias) RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias));
  if (operands.z) RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, operands.z));
  if (shape_.epilogue == Epilogue::kBiasGradient) {
    RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias_gradient));
  }
  if (shape_.operands != Type::kFloat8) return Status::ok();
  RETURN_IF_ERROR(set(description, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.b_scale));
  return set(description, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.a_scale);
}

Result<std::vector<cublasLtMatmulAlgo_t>> CublasltProduct::proposals(int count) const {
  cublasLtMatmulPreference_t made = nullptr;
  RETURN_IF_ERROR(checked(cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate"));
  const CublasltOwned<cublasLtMatmulPreference_t> preference(made);
  RETURN_IF_ERROR(set(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kProductScratchBytes}));
  RETURN_IF_ERROR(
      set(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE}));
  for (auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                         CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    RETURN_IF_ERROR(set(made, attribute, uint32_t{16}));
  }
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(count));
  int found_count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, description_.get(), b_.get(), a_.get(), c_.get(), c_.get(), made, count, found.data(), &found_count);
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (cublasStatus_t cannot :
       {CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_STATUS_INVALID_VALUE, CUBLAS_STATUS_ARCH_MISMATCH}) {
    if (status == cannot) return algorithms;
  }
  RETURN_IF_ERROR(checked(status, "cublasLtMatmulAlgoGetHeuristic"));
  for (int i = 0; i < found_count; ++i) {
    const auto& one = found[static_cast<size_t>(i)];
    if (one.state == CUBLAS_STATUS_SUCCESS && has_fixed_order(one.algo)) algorithms.push_back(one.algo);
  }
  return algorithms;
}

Status CublasltProduct::run(const cublasLtMatmulAlgo_t& algorithm, const ProductOperands& operands, void* workspace,
                            CudaStream stream) {
  RETURN_IF_ERROR(point_to(operands));
  const float alpha = 1, beta = shape_.accumulate ? 1 : 0;
  return checked(cublasLtMatmul(handle_, description_.get(), &alpha, operands.b, b_.get(), operands.a, a_.get(), &beta,
                                operands.c, c_.get(), operands.c, c_.get(), &algorithm, workspace, kProductScratchBytes,
                                stream),
                 "cublasLtMatmul")
      .with_context("product " + shape_.name());
}

std::string algorithm_text(const cublasLtMatmulAlgo_t& algorithm) {
  return to_hex(reinterpret_cast<const uint8_t*>(&algorithm), sizeof(algorithm));
}

Result<cublasLtMatmulAlgo_t> algorithm_of(std::string_view text) {
  cublasLtMatmulAlgo_t algorithm{};
  uint8_t bytes[sizeof(algorithm)];
  bool is_hex = text.size() == 2 * sizeof(bytes);
  for (size_t i = 0; is_hex && i < sizeof(bytes); ++i) {
    const char* const first = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, bytes[i], 16);
    is_hex = error == std::errc() && end == first + 2;
  }
  if (!is_hex) return invalid_argument("an algorithm that is not of cuBLASLt: " + std::string(text));
  std::memcpy(&algorithm, bytes, sizeof(algorithm));
  return algorithm;
}

}  // namespace freshet::cuda
