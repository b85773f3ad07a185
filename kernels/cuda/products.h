// Matrix products on a device, C[m][n] = op(A) * op(B), row-major, with what may be done to C on the way out. By
// cuBLASLt, or by our own (wgmma_matmul.h) where the table says so. Which algorithm a shape takes decides on its bits:
// it comes from a table that was tuned by a command of its own (tune_products) and is recorded with the run, or,
// without a table, from the library's first proposal. Algorithms that use atomics are never taken. One object per
// device and stream, on one thread at a time; it owns a workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

enum class Type { kBfloat16, kFloat32, kFloat8 };  // kFloat8: e4m3

// What happens to a product before it is stored; `extra` below is its argument.
enum class Epilogue {
  kNone,
  kBias,          // + bias[n], bfloat16
  kBiasGelu,      // + bias[n], which is kept in `z` (bfloat16, as C), then gelu
  kGeluGradient,  // * gelu'(z) of `z`
};

struct ProductShape {
  size_t m = 0, n = 0, k = 0;
  bool a_transposed = false;  // A is stored as [k][m]
  bool b_transposed = false;  // B is stored as [n][k]
  Type operands = Type::kBfloat16;
  Type result = Type::kBfloat16;  // or kFloat32
  bool accumulate = false;        // C += instead of C =
  Epilogue epilogue = Epilogue::kNone;

  auto operator<=>(const ProductShape&) const = default;
};

// Elements from one row, as it is stored, to the next; multiples of 8 (16 for kFloat8).
struct ProductOperands {
  const void* a = nullptr;
  size_t a_stride = 0;
  const void* b = nullptr;
  size_t b_stride = 0;
  void* c = nullptr;
  size_t c_stride = 0;
  const kernels::Bfloat16* bias = nullptr;
  kernels::Bfloat16* z = nullptr;  // of c_stride
  // kFloat8: what the operands are multiplied by, one float each in device memory; null: 1.
  const float* a_scale = nullptr;
  const float* b_scale = nullptr;
};

// For each shape the algorithm, in a form that only this machine's library version may read.
class ProductTable {
 public:
  // From what to_json() wrote; invalid_argument when it is none.
  static Result<ProductTable> of_json(std::string_view json);
  std::string to_json() const;
  // SHA-256 of to_json(): part of the numerics fingerprint.
  std::string digest() const;

  struct Entry {
    ProductShape shape;
    std::string algorithm;    // hexadecimal, opaque; "own" for wgmma_matmul
    double microseconds = 0;  // when it was tuned
  };
  std::vector<Entry> entries;  // ascending by shape
  std::string device;          // the GPU's name
  std::string library;         // "cuBLASLt 13.0.0"
};

class Products {
 public:
  // unavailable when the table was tuned on another GPU model or library.
  static Result<Products> create(const ProductTable& table = {});
  Products(Products&&) noexcept;
  Products& operator=(Products&&) noexcept;
  ~Products();

  // Queues it. invalid_argument for a shape that cannot be; not_found, in words that name the tuning command, for one
  // that the (non-empty) table lacks.
  Status run(const ProductShape& shape, const ProductOperands& operands, CudaStream stream);

  static std::string library();

 private:
  struct Parts;
  explicit Products(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Times the library's proposals (and our own) for each shape, on random values, and takes the fastest that gives the
// same bits twice.
Result<ProductTable> tune_products(const std::vector<ProductShape>& shapes);

}  // namespace freshet::cuda
