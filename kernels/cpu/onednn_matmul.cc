#include "kernels/cpu/onednn_matmul.h"

#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/one_thread.h"

namespace freshet::kernels {
namespace {

using Key = std::tuple<OperandType, size_t, size_t, size_t, bool, size_t, bool, size_t, bool, size_t>;

// A product that the library has compiled, with the descriptions of its operands. Each thread keeps its own: they are
// small, and the library shares the code behind them.
struct Compiled {
  dnnl::matmul product;
  dnnl::memory a, b, c, scratch;
  std::vector<char> scratch_bytes;
};

const dnnl::engine& engine() {
  static const dnnl::engine kEngine(dnnl::engine::kind::cpu, 0);
  return kEngine;
}

dnnl::memory::desc describe(size_t rows, size_t columns, dnnl::memory::data_type type, size_t stride, bool transposed) {
  using Dims = dnnl::memory::dims;
  auto dim = [](size_t value) { return static_cast<dnnl::memory::dim>(value); };
  return {Dims{dim(rows), dim(columns)}, type, transposed ? Dims{1, dim(stride)} : Dims{dim(stride), 1}};
}

Compiled compile(const MatmulShape& s, OperandType operand_type, const AnyMatrix& a, const AnyMatrix& b,
                 size_t c_stride) {
  using Type = dnnl::memory::data_type;
  const Type type = operand_type == OperandType::kBfloat16 ? Type::bf16 : Type::f32;
  auto a_desc = describe(s.m, s.k, type, a.stride, a.transposed);
  auto b_desc = describe(s.k, s.n, type, b.stride, b.transposed);
  auto c_desc = describe(s.m, s.n, Type::f32, c_stride, false);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (s.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0F);
    attributes.set_post_ops(sum);
  }
  dnnl::matmul::primitive_desc description({a_desc, b_desc, c_desc}, attributes, engine());
  Compiled compiled{dnnl::matmul(description),
                    {a_desc, engine(), nullptr},
                    {b_desc, engine(), nullptr},
                    {c_desc, engine(), nullptr},
                    {},
                    {}};
  compiled.scratch_bytes.resize(description.scratchpad_desc().get_size());
  compiled.scratch = dnnl::memory(description.scratchpad_desc(), engine(), compiled.scratch_bytes.data());
  return compiled;
}

Compiled& compiled_for(const MatmulShape& s, OperandType type, const AnyMatrix& a, const AnyMatrix& b,
                       size_t c_stride) {
  thread_local std::map<Key, Compiled> cache;
  const Key key{type, s.m, s.n, s.k, s.accumulate, a.stride, a.transposed, b.stride, b.transposed, c_stride};
  auto found = cache.find(key);
  if (found == cache.end()) found = cache.emplace(key, compile(s, type, a, b, c_stride)).first;
  return found->second;
}

}  // namespace

Status onednn_matmul(const MatmulShape& shape, OperandType type, const AnyMatrix& a, const AnyMatrix& b, float* c,
                     size_t c_stride) {
  keep_products_on_this_thread();
  try {
    Compiled& compiled = compiled_for(shape, type, a, b, c_stride);
    // The library takes its inputs without const and does not write to them.
    compiled.a.set_data_handle(const_cast<void*>(a.data));
    compiled.b.set_data_handle(const_cast<void*>(b.data));
    compiled.c.set_data_handle(c);
    thread_local dnnl::stream stream(engine());
    compiled.product.execute(stream, {{DNNL_ARG_SRC, compiled.a},
                                      {DNNL_ARG_WEIGHTS, compiled.b},
                                      {DNNL_ARG_DST, compiled.c},
                                      {DNNL_ARG_SCRATCHPAD, compiled.scratch}});
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented && type == OperandType::kBfloat16) {
      return unavailable("this machine's instruction set has no bfloat16 products: compute in float32");
    }
    return internal("oneDNN could not multiply [" + std::to_string(shape.m) + "][" + std::to_string(shape.k) +
                    "] by [" + std::to_string(shape.k) + "][" + std::to_string(shape.n) + "]: " + error.what());
  }
  return Status::ok();
}

}  // namespace freshet::kernels
