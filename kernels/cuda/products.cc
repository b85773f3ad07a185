#include "kernels/cuda/products.h"

#include <array>
#include <map>
#include <memory>
#include <utility>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/product_epilogue.h"
#include "kernels/cuda/product_proposals.h"
#include "kernels/cuda/wgmma_matmul.h"

namespace freshet::cuda {
namespace {

constexpr int kProposals = 16;

// How a shape with certain strides is computed.
struct Plan {
  std::unique_ptr<CublasltProduct> product;  // none: by wgmma_matmul() with `own`
  cublasLtMatmulAlgo_t algorithm{};
  bool has_separate_epilogue = false;
  WgmmaTiles own = WgmmaTiles::kWide;
};

Result<Plan> make_plan(cublasLtHandle_t handle, const ProductShape& shape, const ProductOperands& operands,
                       std::string_view algorithm) {
  if (const auto own = wgmma_tiles_of(algorithm)) return Plan{.product = {}, .own = *own};
  const bool is_separate = algorithm.ends_with(kSeparateEpilogue);
  if (is_separate) algorithm.remove_suffix(kSeparateEpilogue.size());
  ASSIGN_OR_RETURN(auto product, CublasltProduct::create(handle, is_separate ? without_epilogue(shape) : shape,
                                                         is_separate ? without_epilogue(operands) : operands));
  ASSIGN_OR_RETURN(const auto parsed, algorithm_of(algorithm));
  return Plan{std::make_unique<CublasltProduct>(std::move(product)), parsed, is_separate, {}};
}

Result<std::vector<std::string>> proposals_of(cublasLtHandle_t handle, const ProductShape& shape,
                                              const ProductOperands& operands, int count) {
  std::vector<std::string> texts;
  auto append = [&](const ProductShape& of, const ProductOperands& with, std::string_view suffix) {
    ASSIGN_OR_RETURN(const auto product, CublasltProduct::create(handle, of, with));
    ASSIGN_OR_RETURN(const auto algorithms, product.proposals(count));
    for (const auto& algorithm : algorithms) texts.push_back(algorithm_text(algorithm).append(suffix));
    return Status::ok();
  };
  auto append_fused = [&] { return cublaslt_has(shape.epilogue) ? append(shape, operands, {}) : Status::ok(); };
  // Sums of B come last: nothing says what they cost.
  const bool has_sums_of_b = shape.epilogue == Epilogue::kBiasGradient;
  if (!has_sums_of_b) RETURN_IF_ERROR(append_fused());
  if (shape.epilogue != Epilogue::kNone) {
    RETURN_IF_ERROR(append(without_epilogue(shape), without_epilogue(operands), kSeparateEpilogue));
  }
  if (has_sums_of_b) RETURN_IF_ERROR(append_fused());
  if (wgmma_matmul_takes(shape)) texts.insert(texts.end(), kWgmmaTilesNames.begin(), kWgmmaTilesNames.end());
  if (texts.empty()) return internal("cuBLASLt has no algorithm for the product " + shape.name());
  return texts;
}

}  // namespace

struct Products::Parts {
  using Key = std::pair<ProductShape, std::array<size_t, 3>>;
  CublasltOwned<cublasLtHandle_t> handle;
  ProductTable table;
  Unlisted unlisted;
  DeviceMemory workspace;
  std::map<Key, Plan> plans;
};

Products::Products(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Products::Products(Products&&) noexcept = default;
Products& Products::operator=(Products&&) noexcept = default;
Products::~Products() = default;

std::string Products::library() {
  const size_t version = cublasLtGetVersion();
  return "cuBLASLt " + std::to_string(version / 10000) + '.' + std::to_string(version / 100 % 100) + '.' +
         std::to_string(version % 100);
}

Result<Products> Products::create(const ProductTable& table, Unlisted unlisted) {
  if (!table.entries.empty()) {
    ASSIGN_OR_RETURN(const DeviceProperties device, device_properties());
    RETURN_IF_ERROR(table.check_made_for(device.name, library()));
  }
  auto parts = std::make_unique<Parts>();
  parts->table = table;
  parts->unlisted = table.entries.empty() ? Unlisted::kFirstProposal : unlisted;
  ASSIGN_OR_RETURN(parts->handle, make_cublaslt());
  ASSIGN_OR_RETURN(parts->workspace, DeviceMemory::allocate(kProductScratchBytes));
  return Products(std::move(parts));
}

Status Products::run(const ProductShape& shape, const ProductOperands& operands, CudaStream stream) {
  RETURN_IF_ERROR(check_product(shape, operands));
  const Parts::Key key{shape, {operands.a_stride, operands.b_stride, operands.c_stride}};
  auto found = parts_->plans.find(key);
  if (found == parts_->plans.end()) {
    std::string algorithm;
    if (const auto entry = parts_->table.find(shape); entry.is_ok()) {
      algorithm = entry->algorithm;
    } else {
      if (parts_->unlisted == Unlisted::kRefused) return entry.status();
      ASSIGN_OR_RETURN(const auto proposals, proposals_of(parts_->handle.get(), shape, operands, kProposals));
      algorithm = proposals.front();
    }
    ASSIGN_OR_RETURN(auto plan, make_plan(parts_->handle.get(), shape, operands, algorithm));
    found = parts_->plans.emplace(key, std::move(plan)).first;
  }
  Plan& plan = found->second;
  float* const scratch = parts_->workspace.data<float>();
  if (!plan.product) return wgmma_matmul(shape, operands, plan.own, scratch, stream);
  const ProductOperands fused = plan.has_separate_epilogue ? without_epilogue(operands) : operands;
  RETURN_IF_ERROR(plan.product->run(plan.algorithm, fused, scratch, stream));
  if (plan.has_separate_epilogue) return product_epilogue(shape, operands, scratch, stream);
  return is_gradient(shape.epilogue) ? product_sums(shape, operands, scratch, stream) : Status::ok();
}

Result<std::vector<std::string>> product_proposals(const ProductShape& shape, const ProductOperands& operands) {
  ASSIGN_OR_RETURN(const auto handle, make_cublaslt());
  return proposals_of(handle.get(), shape, operands, kProposals);
}

}  // namespace freshet::cuda
