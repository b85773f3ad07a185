// The products without a device: plain loops on float, in ascending order of the inner dimension.
#include "kernels/cuda/products.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/device.h"
#include "kernels/cuda/emulated/streams.h"
#include "kernels/cuda/product_epilogue.h"
#include "kernels/cuda/product_proposals.h"
#include "kernels/cuda/wgmma_matmul.h"
#include "kernels/float8.h"

namespace freshet::cuda {
namespace {

using kernels::Bfloat16;

float element(Type type, const void* data, size_t index) {
  if (type == Type::kFloat8) return kernels::float8_to_float(static_cast<const kernels::Float8*>(data)[index]);
  return kernels::to_float(static_cast<const Bfloat16*>(data)[index]);
}

// Dense rows[outer][inner] of what is stored so, or transposed.
std::vector<float> unpacked(Type type, const void* data, size_t stride, bool is_transposed, size_t outer,
                            size_t inner) {
  std::vector<float> rows(outer * inner);
  for (size_t o = 0; o < outer; ++o) {
    for (size_t i = 0; i < inner; ++i) {
      rows[o * inner + i] = element(type, data, is_transposed ? i * stride + o : o * stride + i);
    }
  }
  return rows;
}

float scale_of(const float* scale) { return scale ? *scale : 1.0F; }

constexpr float kTwiceRootOf2OverPi = 1.5957691216F;
constexpr float kCubic = 0.044715F;

float gelu(float z) { return z / (1 + std::exp(-kTwiceRootOf2OverPi * (z + kCubic * z * z * z))); }

float gelu_slope(float z) {
  const float sigmoid = 1 / (1 + std::exp(-kTwiceRootOf2OverPi * (z + kCubic * z * z * z)));
  return sigmoid + z * sigmoid * (1 - sigmoid) * kTwiceRootOf2OverPi * (1 + 3 * kCubic * z * z);
}

// Adds what it stores to `columns`.
void store_row(const ProductShape& shape, const ProductOperands& operands, size_t row, const std::vector<float>& sums,
               std::vector<float>* columns) {
  const size_t first = row * operands.c_stride;
  if (shape.result == Type::kFloat32) {
    float* c = static_cast<float*>(operands.c) + first;
    for (size_t j = 0; j < shape.n; ++j) c[j] = shape.accumulate ? c[j] + sums[j] : sums[j];
    return;
  }
  Bfloat16* c = static_cast<Bfloat16*>(operands.c) + first;
  for (size_t j = 0; j < shape.n; ++j) {
    float value = shape.accumulate ? kernels::to_float(c[j]) + sums[j] : sums[j];
    if (operands.bias) value += kernels::to_float(operands.bias[j]);
    if (shape.epilogue == Epilogue::kBiasGelu) {
      operands.z[first + j] = kernels::to_bfloat16(value);
      value = gelu(value);
    } else if (shape.epilogue == Epilogue::kGeluGradient) {
      value *= gelu_slope(kernels::to_float(operands.z[first + j]));
    } else if (shape.epilogue == Epilogue::kBiasRelu) {
      value = value < 0 ? 0 : value;
    } else if (shape.epilogue == Epilogue::kReluGradient) {
      value = kernels::to_float(operands.z[first + j]) == 0 ? 0 : value;
    }
    (*columns)[j] += value;
    c[j] = kernels::to_bfloat16(value);
  }
}

Status multiply(const ProductShape& shape, const ProductOperands& operands) {
  const auto a = unpacked(shape.operands, operands.a, operands.a_stride, shape.a_transposed, shape.m, shape.k);
  const auto b = unpacked(shape.operands, operands.b, operands.b_stride, shape.b_transposed, shape.k, shape.n);
  const float scale = scale_of(operands.a_scale) * scale_of(operands.b_scale);
  std::vector<float> sums(shape.n), columns(shape.n);
  for (size_t i = 0; i < shape.m; ++i) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (size_t l = 0; l < shape.k; ++l) {
      const float value = a[i * shape.k + l];
      const float* row = b.data() + l * shape.n;
      for (size_t j = 0; j < shape.n; ++j) sums[j] += value * row[j];
    }
    for (float& sum : sums) sum *= scale;
    store_row(shape, operands, i, sums, &columns);
  }
  if (shape.epilogue == Epilogue::kBiasGradient) {
    for (size_t i = 0; i < b.size(); ++i) columns[i % shape.n] += b[i];
  }
  if (operands.bias_gradient) std::copy(columns.begin(), columns.end(), operands.bias_gradient);
  return Status::ok();
}

}  // namespace

struct Products::Parts {
  ProductTable table;
  Unlisted unlisted;
  DeviceMemory scratch;  // from when it is first needed: filling it with NaN takes time
};

Products::Products(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Products::Products(Products&&) noexcept = default;
Products& Products::operator=(Products&&) noexcept = default;
Products::~Products() = default;

std::string Products::library() { return "emulated"; }

Result<Products> Products::create(const ProductTable& table, Unlisted unlisted) {
  if (!table.entries.empty()) {
    ASSIGN_OR_RETURN(const DeviceProperties device, device_properties());
    RETURN_IF_ERROR(table.check_made_for(device.name, library()));
  }
  auto parts = std::make_unique<Parts>();
  parts->table = table;
  parts->unlisted = table.entries.empty() ? Unlisted::kFirstProposal : unlisted;
  return Products(std::move(parts));
}

Status Products::run(const ProductShape& shape, const ProductOperands& operands, CudaStream stream) {
  RETURN_IF_ERROR(check_product(shape, operands));
  if (has_bias_gradient(shape.epilogue) && parts_->scratch.data() == nullptr) {
    ASSIGN_OR_RETURN(parts_->scratch, DeviceMemory::allocate(kProductScratchBytes));
  }
  float* const scratch = parts_->scratch.data<float>();
  bool is_separate = false;
  if (const auto entry = parts_->table.find(shape); entry.is_ok()) {
    if (auto tiles = wgmma_tiles_of(entry->algorithm)) return wgmma_matmul(shape, operands, *tiles, scratch, stream);
    is_separate = entry->algorithm.ends_with(kSeparateEpilogue);
  } else if (parts_->unlisted == Unlisted::kRefused) {
    return entry.status();
  }
  const ProductShape fused = is_separate ? without_epilogue(shape) : shape;
  const ProductOperands with = is_separate ? without_epilogue(operands) : operands;
  RETURN_IF_ERROR(emulated::queue_work(stream, [fused, with] { return multiply(fused, with); }));
  return is_separate ? product_epilogue(shape, operands, scratch, stream) : Status::ok();
}

Result<std::vector<std::string>> product_proposals(const ProductShape& shape, const ProductOperands&) {
  std::vector<std::string> proposals{"loops"};
  if (shape.epilogue != Epilogue::kNone) proposals.push_back("loops" + std::string(kSeparateEpilogue));
  if (wgmma_matmul_takes(shape)) proposals.insert(proposals.end(), kWgmmaTilesNames.begin(), kWgmmaTilesNames.end());
  return proposals;
}

}  // namespace freshet::cuda
