// Matrix products with their right results, for the tests of everything that multiplies on a device. Rows lie further
// apart than they are long, and between them is NaN. Tests only.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/cuda/products.h"
#include "kernels/float8.h"
#include "kernels/matmul.h"
#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {

inline float as_stored(Type type, float value) {
  if (type == Type::kFloat8) return kernels::float8_to_float(kernels::to_float8(value));
  return type == Type::kBfloat16 ? kernels::to_float(kernels::to_bfloat16(value)) : value;
}

struct ProductMatrix {
  ProductMatrix(Type type_, size_t rows_, size_t columns_, const std::string& name)
      : type(type_), rows(rows_), columns(columns_), stride((columns + 15) / 16 * 16 + 16) {
    values.assign(rows * stride, std::nanf(""));
    const auto drawn = random_values(rows * columns, name);
    for (size_t i = 0; i < rows * columns; ++i) values[i / columns * stride + i % columns] = as_stored(type, drawn[i]);
  }
  Type type;
  size_t rows, columns, stride;
  std::vector<float> values;  // that the type can hold
};

// The operands of a shape, and what comes out in double.
struct ProductCase {
  explicit ProductCase(const ProductShape& s)
      : shape(s),
        a(s.operands, s.a_transposed ? s.k : s.m, s.a_transposed ? s.m : s.k, "a"),
        b(s.operands, s.b_transposed ? s.n : s.k, s.b_transposed ? s.k : s.n, "b"),
        c(s.result, s.m, s.n, "c"),
        z(Type::kBfloat16, s.m, s.n, "z"),
        bias(random_values16(s.n, "bias")),
        a_scale(s.operands == Type::kFloat8 ? 0.75F : 1.0F),
        b_scale(s.operands == Type::kFloat8 ? 1.5F : 1.0F) {
    std::vector<float> product(s.m * c.stride, 0);
    kernels::ref::matmul({s.m, s.n, s.k}, {a.values.data(), a.stride, s.a_transposed},
                         {b.values.data(), b.stride, s.b_transposed}, product.data(), c.stride);
    right = c.values;
    right_z = z.values;
    scale.assign(right.size(), 0);
    std::vector<double> sums(s.n), scales(s.n);
    // What left a relu: mostly 0 or more.
    for (float& value : z.values) {
      if (s.epilogue == Epilogue::kReluGradient && value < 0) value = 0;
    }
    for (size_t i = 0; i < s.m; ++i) {
      for (size_t j = 0; j < s.n; ++j) {
        const size_t at = i * c.stride + j;
        float value = product[at] * a_scale * b_scale + (s.accumulate ? c.values[at] : 0.0F);
        scale[at] = std::fabs(value) + 1;  // bias, slope and c are at most about 1
        if (takes_bias(s.epilogue)) value += bias[j];
        float slope = 1, zero = 0;
        if (s.epilogue == Epilogue::kBiasGelu) {
          right_z[at] = value;
          kernels::ref::bias_gelu_forward({1, 1, 1}, &zero, &value, &slope);
          value = slope;
        } else if (s.epilogue == Epilogue::kGeluGradient) {
          float y = 0;
          kernels::ref::gelu_gradient({1, 1, 1}, &z.values[at], &value, &y);
        } else if (s.epilogue == Epilogue::kBiasRelu) {
          value = std::max(value, 0.0F);
        } else if (s.epilogue == Epilogue::kReluGradient) {
          value = z.values[at] == 0 ? 0 : value;
        }
        right[at] = value;
        sums[j] += static_cast<double>(value);
        scales[j] += static_cast<double>(scale[at]);
      }
    }
    if (s.epilogue == Epilogue::kBiasGradient) {
      sums.assign(s.n, 0);
      scales.assign(s.n, static_cast<double>(s.k));
      for (size_t i = 0; i < s.k * s.n; ++i) {
        sums[i % s.n] += static_cast<double>(b.values[i / s.n * b.stride + i % s.n]);
      }
    }
    right_sums.assign(sums.begin(), sums.end());
    sums_scale.assign(scales.begin(), scales.end());
  }
  ProductShape shape;
  ProductMatrix a, b, c, z;
  std::vector<float> bias;
  float a_scale, b_scale;
  std::vector<float> right, right_z, right_sums, scale, sums_scale;
};

// A case on the device.
class ProductArrays {
 public:
  explicit ProductArrays(const ProductCase& of)
      : shape_(of.shape),
        a_(bytes_of(of.a)),
        b_(bytes_of(of.b)),
        c_(bytes_of(of.c)),
        z_(narrowed(of.shape.epilogue == Epilogue::kBiasGelu ? of.c.values : of.z.values)),
        bias_(narrowed(of.bias)),
        bias_gradient_(of.shape.n),
        scales_({of.a_scale, of.b_scale}),
        strides_({of.a.stride, of.b.stride, of.c.stride}) {}
  ProductOperands operands() const {
    ProductOperands made{a_.data(), strides_[0], b_.data(), strides_[1], c_.data(), strides_[2]};
    if (takes_z(shape_.epilogue)) made.z = z_.data();
    if (takes_bias(shape_.epilogue)) made.bias = bias_.data();
    if (has_bias_gradient(shape_.epilogue)) made.bias_gradient = bias_gradient_.data();
    if (shape_.operands == Type::kFloat8) {
      made.a_scale = scales_.data();
      made.b_scale = scales_.data() + 1;
    }
    return made;
  }
  std::vector<float> c() const {
    const auto bytes = c_.values();
    if (shape_.result == Type::kBfloat16) {
      std::vector<Bfloat16> narrow(bytes.size() / 2);
      std::memcpy(narrow.data(), bytes.data(), bytes.size());
      return widened(narrow);
    }
    std::vector<float> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  std::vector<float> z() const { return widened(z_.values()); }
  std::vector<float> bias_gradient() const { return bias_gradient_.values(); }

 private:
  static std::vector<std::byte> bytes_of(const ProductMatrix& matrix) {
    const auto& values = matrix.values;
    std::vector<std::byte> bytes;
    auto append = [&bytes](auto value) {
      const auto* first = reinterpret_cast<const std::byte*>(&value);
      bytes.insert(bytes.end(), first, first + sizeof(value));
    };
    for (float value : values) {
      if (matrix.type == Type::kFloat32) append(value);
      if (matrix.type == Type::kBfloat16) append(kernels::to_bfloat16(value));
      if (matrix.type == Type::kFloat8) append(kernels::to_float8(value));
    }
    return bytes;
  }
  ProductShape shape_;
  Array<std::byte> a_, b_, c_;
  Array<Bfloat16> z_, bias_;
  Array<float> bias_gradient_, scales_;
  std::array<size_t, 3> strides_;
};

// Two roundings to the result's type, and those of the sum, which the tensor cores keep to 13 bits behind the point
// when they add up 8-bit products (DeepSeek-AI, "DeepSeek-V3 technical report", 2024, section 3.3.2); between the rows
// still NaN.
inline void expect_product(const ProductCase& expected, const ProductArrays& actual) {
  const ProductShape& shape = expected.shape;
  const double one_sum = shape.operands == Type::kFloat8 ? 0x1p-14 : 8 * kRounding;
  const double sum_rounding = one_sum * static_cast<double>(shape.k);
  auto compare = [&](const std::vector<float>& got, const std::vector<float>& right, Type type, const char* name) {
    ASSERT_EQ(got.size(), right.size());
    const double rounding = (type == Type::kBfloat16 ? 2 * kRounding16 : 0) + sum_rounding;
    for (size_t i = 0; i < got.size(); ++i) {
      const std::string where = std::string(name) + '[' + std::to_string(i / expected.c.stride) + "][" +
                                std::to_string(i % expected.c.stride) + ']';
      if (i % expected.c.stride >= shape.n) {
        ASSERT_TRUE(std::isnan(got[i])) << where << " was written";
        continue;
      }
      const double tolerance = rounding * static_cast<double>(expected.scale[i]) + sum_rounding;
      ASSERT_NEAR(static_cast<double>(got[i]), static_cast<double>(right[i]), tolerance) << where;
    }
  };
  compare(actual.c(), expected.right, shape.result, "c");
  if (shape.epilogue == Epilogue::kBiasGelu) compare(actual.z(), expected.right_z, Type::kBfloat16, "z");
  if (!has_bias_gradient(shape.epilogue)) return;
  // Each term as an element of C, or exact; then fewer additions of at most their sum than there are terms.
  const auto sums = actual.bias_gradient();
  const bool of_b = shape.epilogue == Epilogue::kBiasGradient;
  const double terms = static_cast<double>(of_b ? shape.k : shape.m);
  const double rounding = terms * kRounding + (of_b ? 0 : 2 * kRounding16 + 2 * sum_rounding);
  for (size_t j = 0; j < shape.n; ++j) {
    ASSERT_NEAR(static_cast<double>(sums[j]), static_cast<double>(expected.right_sums[j]),
                rounding * static_cast<double>(expected.sums_scale[j]))
        << "bias_gradient[" << j << ']';
  }
}

}  // namespace freshet::cuda
