// Matrix products on a device, C[m][n] = op(A) * op(B), row-major, with what may be done to C on the way out. By
// cuBLASLt, or by our own (wgmma_matmul.h) where the table says so. Which algorithm a shape takes decides on its bits:
// it comes from a table that was tuned by a command of its own (tune_products) and is recorded with the run, or,
// without a table, from the library's first proposal. Algorithms that use atomics are never taken. What the library
// cannot do at the end of a product is done by a pass of our own behind it (product_epilogue.h, which also says why
// sums for biases are made where they are). One object per device and stream, on one thread at a time; it owns a
// workspace.
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

enum class Type { kBfloat16, kFloat32, kFloat8 };  // kFloat8: e4m3 (kernels/float8.h)

// What happens to a product before it is stored. Whether gelu and its gradient see z as it is stored or before it was
// rounded, whether sums see C before or after, and whether a NaN leaves relu as one, is the algorithm's choice.
enum class Epilogue {
  kNone,
  // C is bfloat16:
  kBias,          // + bias[n]
  kBiasGelu,      // + bias[n], which is kept in `z`, then gelu (the form with tanh); not with `accumulate`
  kGeluGradient,  // * gelu'(z) of `z`; bias_gradient[n] = the sums of C's columns; not with `accumulate`
  kBiasRelu,      // + bias[n], then max(it, 0); not with `accumulate`
  kReluGradient,  // 0 where `z`, which is what left the relu, is 0; sums and `accumulate` as of kGeluGradient
  // C is float:
  kBiasGradient,  // bias_gradient[n] = the sums of B's columns: B is dy[k][n], bfloat16
};

constexpr bool takes_bias(Epilogue epilogue) {
  return epilogue == Epilogue::kBias || epilogue == Epilogue::kBiasGelu || epilogue == Epilogue::kBiasRelu;
}
constexpr bool is_gradient(Epilogue epilogue) {
  return epilogue == Epilogue::kGeluGradient || epilogue == Epilogue::kReluGradient;
}
constexpr bool takes_z(Epilogue epilogue) { return epilogue == Epilogue::kBiasGelu || is_gradient(epilogue); }
constexpr bool has_bias_gradient(Epilogue epilogue) {
  return epilogue == Epilogue::kBiasGradient || is_gradient(epilogue);
}

struct ProductShape {
  size_t m = 0, n = 0, k = 0;       // at least 1; multiples of 16 for kFloat8
  bool a_transposed = false;        // A is stored as [k][m]
  bool b_transposed = false;        // B is stored as [n][k]
  Type operands = Type::kBfloat16;  // or kFloat8, for which A is stored as [m][k] and B as [n][k]
  Type result = Type::kBfloat16;    // or kFloat32
  bool accumulate = false;          // C += instead of C =
  Epilogue epilogue = Epilogue::kNone;

  auto operator<=>(const ProductShape&) const = default;
  // "65536x768x3072 nt bf16 bf16 = bias": the form in a table. t says that A, or B, is transposed.
  std::string name() const;
};

// All memory is the device's, on borders of 16 bytes. What lies between the end of a row and the next is never written.
struct ProductOperands {
  // Elements from one row, as it is stored, to the next; multiples of 8 (16 for kFloat8).
  const void* a = nullptr;
  size_t a_stride = 0;
  const void* b = nullptr;
  size_t b_stride = 0;
  void* c = nullptr;
  size_t c_stride = 0;
  const kernels::Bfloat16* bias = nullptr;
  kernels::Bfloat16* z = nullptr;  // of c_stride; only read by the gradients
  float* bias_gradient = nullptr;  // overwritten
  // kFloat8: what the operands are multiplied by, one float each in device memory; null: 1.
  const float* a_scale = nullptr;
  const float* b_scale = nullptr;
};

// What Products::run() demands of both; invalid_argument says what is wrong.
Status check_product(const ProductShape& shape, const ProductOperands& operands);

// For each shape the algorithm, in a form that only this machine's library version may read. As text it is one line a
// shape, so that a person can compare two; the first lines name the device and the library.
class ProductTable {
 public:
  // From what to_text() wrote; invalid_argument, with the line, when it is none.
  static Result<ProductTable> of_text(std::string_view text);
  std::string to_text() const;
  // SHA-256 of to_text(): part of the numerics fingerprint.
  std::string digest() const;

  struct Entry {
    ProductShape shape;
    std::string algorithm;    // one word, opaque; "own-..." for wgmma_matmul
    double microseconds = 0;  // when it was tuned
  };
  // not_found, in words that name the tuning command, for a shape that is not in it.
  Result<Entry> find(const ProductShape& shape) const;
  // Of these shapes alone, so that it stays the same whatever else is tuned. not_found as find().
  Result<ProductTable> only(const std::vector<ProductShape>& shapes) const;
  // Puts them in their places, and in the place of older ones.
  void add(const std::vector<Entry>& more);
  // unavailable when the table was tuned on another device or library.
  Status check_made_for(const std::string& device_name, const std::string& library_name) const;

  std::vector<Entry> entries;  // ascending by shape
  std::string device;          // the GPU's name
  std::string library;         // "cuBLASLt 13.0.0"
};

// What becomes of a shape that is not in a table.
enum class Unlisted {
  kRefused,
  kFirstProposal,  // of the library
};

class Products {
 public:
  // An empty table stands for the library's first proposals. unavailable when the table was tuned on another GPU model
  // or library.
  static Result<Products> create(const ProductTable& table = {}, Unlisted unlisted = Unlisted::kRefused);
  Products(Products&&) noexcept;
  Products& operator=(Products&&) noexcept;
  ~Products();

  // Queues it. invalid_argument as check_product(); not_found as ProductTable::find(), when there is a table and what
  // is not in it is refused.
  Status run(const ProductShape& shape, const ProductOperands& operands, CudaStream stream);

  // "cuBLASLt 13.0.0", of what is loaded; "emulated".
  static std::string library();

 private:
  struct Parts;
  explicit Products(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Times the library's proposals (and our own) for each shape, on random values, and takes the fastest that gives the
// same bits twice, sums for a bias among them, close to those of the first proposal. Logs what it leaves out. Our own
// are not tried where `with_own` is false.
Result<ProductTable> tune_products(const std::vector<ProductShape>& shapes, bool with_own = true);

}  // namespace freshet::cuda
