// The operators that our graphs are made of, in double, as ONNX's definition of operator set 17 says. For tests: shapes
// that do not fit throw std::out_of_range. One owner.
#pragma once

#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace freshet::worker {

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<double> values;

  int64_t size(int64_t axis) const { return shape.at(static_cast<size_t>(axis)); }
  double at(int64_t index) const { return values.at(static_cast<size_t>(index)); }
};

class Evaluation {
 public:
  explicit Evaluation(const onnx::GraphProto& graph) {
    for (const auto& constant : graph.initializer()) {
      Tensor made{{constant.dims().begin(), constant.dims().end()}, {}};
      const bool is_float = constant.data_type() == onnx::TensorProto::FLOAT;
      const std::string& raw = constant.raw_data();
      for (size_t at = 0; at < raw.size(); at += is_float ? 4 : 8) {
        float real = 0;
        int64_t whole = 0;
        std::memcpy(is_float ? static_cast<void*>(&real) : &whole, raw.data() + at, is_float ? 4 : 8);
        made.values.push_back(is_float ? static_cast<double>(real) : static_cast<double>(whole));
      }
      tensors[constant.name()] = made;
    }
  }
  void run(const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) tensors[node.output(0)] = result(node);
  }
  std::map<std::string, Tensor> tensors;

 private:
  static int64_t attribute(const onnx::NodeProto& node, const std::string& name) {
    for (const auto& each : node.attribute()) {
      if (each.name() == name) return each.i();
    }
    return 0;
  }

  Tensor result(const onnx::NodeProto& node) const {
    std::vector<Tensor> in;
    for (const auto& name : node.input()) in.push_back(tensors.at(name));
    const std::string& operation = node.op_type();
    if (operation == "Add") return pairwise(in, [](double a, double b) { return a + b; });
    if (operation == "Mul") return pairwise(in, [](double a, double b) { return a * b; });
    if (operation == "Div") return pairwise(in, [](double a, double b) { return a / b; });
    if (operation == "Max") return pairwise(in, [](double a, double b) { return std::max(a, b); });
    if (operation == "GreaterOrEqual") return pairwise(in, [](double a, double b) { return a >= b ? 1.0 : 0.0; });
    if (operation == "Relu") return each(in[0], [](double a) { return std::max(a, 0.0); });
    if (operation == "Sigmoid") return each(in[0], [](double a) { return 1 / (1 + std::exp(-a)); });
    if (operation == "Identity" || operation == "Cast") return in[0];
    if (operation == "Gather") return gather(in[0], in[1], attribute(node, "axis"));
    if (operation == "Concat") return concat(in, attribute(node, "axis"));
    if (operation == "Gemm") return gemm(in, attribute(node, "transB") == 1);
    if (operation == "MatMul") return batched_product(in[0], in[1]);
    if (operation == "Transpose") return transposed(in[0], node.attribute(0));
    if (operation == "Softmax") return softmax(in[0], attribute(node, "axis"));
    if (operation == "ReduceSum") return row_sums(in[0], in[1]);
    if (operation == "Reshape") return reshaped(in[0], in[1]);
    Tensor out = in[0];
    const auto axis = static_cast<int64_t>(in.at(1).at(0));
    if (operation == "Unsqueeze") {
      out.shape.insert(out.shape.begin() + axis, 1);
    } else if (operation == "Squeeze") {
      EXPECT_EQ(out.size(axis), 1);
      out.shape.erase(out.shape.begin() + axis);
    } else {
      ADD_FAILURE() << "no operator " << operation;
    }
    return out;
  }

  template <class Function>
  static Tensor each(Tensor tensor, Function function) {
    for (double& value : tensor.values) value = function(value);
    return tensor;
  }
  // The second broadcast to the first: the same shape, one number, or one a row.
  template <class Function>
  static Tensor pairwise(const std::vector<Tensor>& in, Function function) {
    Tensor out = in[0];
    const Tensor& other = in[1];
    const bool is_column = other.shape.size() == 2 && other.size(1) == 1 && other.size(0) == out.size(0);
    EXPECT_TRUE(is_column || other.values.size() == 1 || other.shape == out.shape);
    for (size_t i = 0; i < out.values.size(); ++i) {
      const size_t at = other.values.size() == 1 ? 0 : is_column ? i / static_cast<size_t>(out.size(1)) : i;
      out.values[i] = function(out.values[i], other.values.at(at));
    }
    return out;
  }
  // Of a matrix.
  static Tensor gather(const Tensor& from, const Tensor& indices, int64_t axis) {
    Tensor out;
    if (axis == 1) {
      out.shape = {from.size(0), indices.size(0)};
      for (int64_t r = 0; r < from.size(0); ++r) {
        for (double index : indices.values)
          out.values.push_back(from.at(r * from.size(1) + static_cast<int64_t>(index)));
      }
      return out;
    }
    out.shape = indices.shape;
    out.shape.push_back(from.size(1));
    for (double index : indices.values) {
      EXPECT_GE(index, 0);
      for (int64_t i = 0; i < from.size(1); ++i) {
        out.values.push_back(from.at(static_cast<int64_t>(index) * from.size(1) + i));
      }
    }
    return out;
  }
  static Tensor concat(const std::vector<Tensor>& parts, int64_t axis) {
    EXPECT_EQ(axis, 1);
    Tensor out{{parts[0].size(0), 0}, {}};
    for (const auto& part : parts) out.shape[1] += part.size(1);
    for (int64_t r = 0; r < out.size(0); ++r) {
      for (const auto& part : parts) {
        for (int64_t i = 0; i < part.size(1); ++i) out.values.push_back(part.at(r * part.size(1) + i));
      }
    }
    return out;
  }
  static Tensor gemm(const std::vector<Tensor>& in, bool transposed) {
    EXPECT_TRUE(transposed);
    const int64_t inner = in[0].size(1), outputs = in[1].size(0);
    EXPECT_EQ(in[1].size(1), inner);
    Tensor out{{in[0].size(0), outputs}, {}};
    for (int64_t r = 0; r < in[0].size(0); ++r) {
      for (int64_t o = 0; o < outputs; ++o) {
        double sum = in.size() > 2 ? in[2].at(o) : 0;
        for (int64_t k = 0; k < inner; ++k) sum += in[0].at(r * inner + k) * in[1].at(o * inner + k);
        out.values.push_back(sum);
      }
    }
    return out;
  }
  static Tensor batched_product(const Tensor& a, const Tensor& b) {
    EXPECT_EQ(a.size(0), b.size(0));
    EXPECT_EQ(a.size(2), b.size(1));
    const int64_t rows = a.size(1), inner = a.size(2), columns = b.size(2);
    Tensor out{{a.size(0), rows, columns}, {}};
    for (int64_t i = 0; i < a.size(0) * rows; ++i) {
      for (int64_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (int64_t k = 0; k < inner; ++k) sum += a.at(i * inner + k) * b.at((i / rows * inner + k) * columns + c);
        out.values.push_back(sum);
      }
    }
    return out;
  }
  static Tensor transposed(const Tensor& in, const onnx::AttributeProto& order) {
    EXPECT_EQ(std::vector<int64_t>(order.ints().begin(), order.ints().end()), (std::vector<int64_t>{0, 2, 1}));
    Tensor out{{in.size(0), in.size(2), in.size(1)}, {}};
    for (int64_t b = 0; b < in.size(0); ++b) {
      for (int64_t c = 0; c < in.size(2); ++c) {
        for (int64_t r = 0; r < in.size(1); ++r) out.values.push_back(in.at((b * in.size(1) + r) * in.size(2) + c));
      }
    }
    return out;
  }
  static Tensor softmax(const Tensor& in, int64_t axis) {
    EXPECT_EQ(axis, 1);
    Tensor out = each(in, [](double a) { return std::exp(a); });
    return pairwise({out, row_sums(out, {{1}, {1}})}, [](double a, double b) { return a / b; });
  }
  // [rows, 1]
  static Tensor row_sums(const Tensor& in, const Tensor& axes) {
    EXPECT_EQ(axes.values, std::vector<double>{1});
    Tensor out{{in.size(0), 1}, std::vector<double>(static_cast<size_t>(in.size(0)))};
    for (size_t i = 0; i < in.values.size(); ++i) out.values[i / static_cast<size_t>(in.size(1))] += in.values[i];
    return out;
  }
  static Tensor reshaped(const Tensor& in, const Tensor& shape) {
    Tensor out{{}, in.values};
    int64_t count = 1;
    for (double size : shape.values) {
      const auto axis = static_cast<int64_t>(out.shape.size());
      out.shape.push_back(size == 0 ? in.size(axis) : static_cast<int64_t>(size));
      count *= out.shape.back();
    }
    EXPECT_EQ(static_cast<size_t>(count), in.values.size());
    return out;
  }
};

}  // namespace freshet::worker
