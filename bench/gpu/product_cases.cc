#include <map>
#include <memory>

#include "bench/gpu/kernel_cases.h"
#include "kernels/cuda/product_epilogue.h"
#include "kernels/cuda/products.h"

namespace freshet::cuda {
namespace {

using kernels::Bfloat16;

std::string text_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kNone:
      break;
    case Epilogue::kBias:
      return ", bias";
    case Epilogue::kBiasGelu:
      return ", bias and gelu";
    case Epilogue::kGeluGradient:
      return ", gelu's gradient and the bias's";
    case Epilogue::kBiasRelu:
      return ", bias and relu";
    case Epilogue::kReluGradient:
      return ", relu's gradient and the bias's";
    case Epilogue::kBiasGradient:
      return ", the bias's gradient";
  }
  return "";
}

std::string text_of(const ProductShape& shape) {
  return std::to_string(shape.m) + " x " + std::to_string(shape.n) + " x " + std::to_string(shape.k) +
         (shape.a_transposed ? ", A transposed" : "") + (shape.b_transposed ? ", B transposed" : "") +
         text_of(shape.epilogue);
}

// What the epilogue takes.
void add_epilogue_operands(const ProductShape& shape, Arrays* arrays, ProductOperands* operands) {
  if (takes_bias(shape.epilogue)) operands->bias = arrays->random16(shape.n);
  if (shape.epilogue == Epilogue::kBiasGelu) operands->z = arrays->output16(shape.m * shape.n);
  if (is_gradient(shape.epilogue)) operands->z = arrays->random16(shape.m * shape.n);
  if (has_bias_gradient(shape.epilogue)) operands->bias_gradient = arrays->output(shape.n);
}

// Elements from one row to the next: rows of the logits, too, begin on borders of 128 bytes.
size_t stride_of(size_t columns) { return (columns + 63) / 64 * 64; }

KernelCase product(const std::string& name, const ProductShape& shape, const Sizes& sizes) {
  KernelCase made{
      "product", name, text_of(shape), 0, 2.0 * static_cast<double>(shape.m * shape.n) * static_cast<double>(shape.k),
      {}};
  made.prepare = [shape, safe = sizes.safe](Arrays* arrays) -> Result<Launch> {
    ProductOperands operands;
    operands.a_stride = stride_of(shape.a_transposed ? shape.m : shape.k);
    operands.a = arrays->random16((shape.a_transposed ? shape.k : shape.m) * operands.a_stride);
    operands.b_stride = stride_of(shape.b_transposed ? shape.k : shape.n);
    operands.b = arrays->random16((shape.b_transposed ? shape.n : shape.k) * operands.b_stride);
    operands.c_stride = stride_of(shape.n);
    const size_t count = shape.m * operands.c_stride;
    if (shape.result == Type::kFloat32) {
      operands.c = arrays->output(count);
    } else {
      // Behind a row's end nothing is written.
      operands.c = operands.c_stride == shape.n ? arrays->output16(count) : arrays->random16(count);
    }
    add_epilogue_operands(shape, arrays, &operands);
    RETURN_IF_ERROR(arrays->status());
    ASSIGN_OR_RETURN(auto table, tune_products({shape}, !safe));
    ASSIGN_OR_RETURN(auto made_products, Products::create(table));
    auto products = std::make_shared<Products>(std::move(made_products));
    return Launch([=](CudaStream stream) { return products->run(shape, operands, stream); });
  };
  return made;
}

// The pass behind a product that ends with what the library can't do, or not as fast: reads and writes C, and z once.
KernelCase epilogue_pass(Epilogue epilogue, const Sizes& sizes) {
  ProductShape shape{sizes.rows(), 4 * sizes.width(), 1};
  shape.epilogue = epilogue;
  KernelCase made{"memory",
                  "product_epilogue" + text_of(epilogue),
                  std::to_string(shape.m) + " x " + std::to_string(shape.n),
                  6.0 * static_cast<double>(shape.m * shape.n),
                  0,
                  {}};
  made.prepare = [shape](Arrays* arrays) -> Result<Launch> {
    ProductOperands operands;
    operands.c = arrays->random16(shape.m * shape.n);
    operands.c_stride = shape.n;
    add_epilogue_operands(shape, arrays, &operands);
    auto* const scratch = static_cast<float*>(arrays->scratch(kProductScratchBytes));
    RETURN_IF_ERROR(arrays->status());
    return Launch([=](CudaStream stream) { return product_epilogue(shape, operands, scratch, stream); });
  };
  return made;
}

// What each of a layer's products ends with.
struct Epilogues {
  Epilogue forward = Epilogue::kBias;
  Epilogue input_gradient = Epilogue::kNone;
  Epilogue weight_gradient = Epilogue::kNone;
};

// A dense layer's three products: y = x w + bias, dx = dy w^T, dw = x^T dy. w[inputs][outputs], as GPT-2's lie.
void add_layer(const std::string& name, const Sizes& sizes, size_t inputs, size_t outputs, const Epilogues& epilogues,
               std::vector<KernelCase>* cases) {
  const size_t rows = sizes.rows();
  ProductShape y{rows, outputs, inputs};
  y.epilogue = epilogues.forward;
  ProductShape dx{rows, inputs, outputs};
  dx.b_transposed = true;
  dx.epilogue = epilogues.input_gradient;
  ProductShape dw{inputs, outputs, rows};
  dw.a_transposed = true;
  dw.result = Type::kFloat32;
  dw.epilogue = epilogues.weight_gradient;
  cases->push_back(product(name + " forward", y, sizes));
  cases->push_back(product(name + " input gradient", dx, sizes));
  cases->push_back(product(name + " weight gradient", dw, sizes));
}

}  // namespace

std::vector<KernelCase> product_cases(const Sizes& sizes) {
  std::vector<KernelCase> cases;
  const size_t width = sizes.width();
  cases.push_back(product("ceiling", {sizes.square, sizes.square, sizes.square}, sizes));
  cases.back().group = "ceiling";
  add_layer("queries, keys, values", sizes, width, 3 * width, {.weight_gradient = Epilogue::kBiasGradient}, &cases);
  add_layer("attention out", sizes, width, width, {}, &cases);
  add_layer("perceptron in", sizes, width, 4 * width, {.forward = Epilogue::kBiasGelu}, &cases);
  add_layer("perceptron out", sizes, 4 * width, width, {.input_gradient = Epilogue::kGeluGradient}, &cases);
  // The output matrix is the embedding's, [vocabulary][width], a chunk of rows at a time.
  ProductShape logits{sizes.chunk_rows, sizes.vocabulary, width};
  logits.b_transposed = true;
  cases.push_back(product("head forward", logits, sizes));
  cases.push_back(product("head input gradient", {sizes.chunk_rows, width, sizes.vocabulary}, sizes));
  ProductShape weights{sizes.vocabulary, width, sizes.chunk_rows};
  weights.a_transposed = true;
  weights.result = Type::kFloat32;
  cases.push_back(product("head weight gradient", weights, sizes));
  for (Epilogue epilogue : {Epilogue::kBiasGelu, Epilogue::kGeluGradient}) {
    cases.push_back(epilogue_pass(epilogue, sizes));
  }
  return cases;
}

}  // namespace freshet::cuda
