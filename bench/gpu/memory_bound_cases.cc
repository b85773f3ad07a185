#include <cmath>

#include "base/random.h"
#include "bench/gpu/kernel_cases.h"
#include "kernels/cuda/activation.h"
#include "kernels/cuda/adamw.h"
#include "kernels/cuda/cross_entropy.h"
#include "kernels/cuda/dense.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/float8.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/rope.h"

namespace freshet::cuda {
namespace {

using kernels::Bfloat16;

std::string matrix(size_t rows, size_t columns) { return std::to_string(rows) + " x " + std::to_string(columns); }

class Cases {
 public:
  explicit Cases(const Sizes& sizes) : sizes_(sizes) {}

  // `make` gets the arrays and returns what launches the operation on them.
  template <class Make>
  void add(const std::string& name, const std::string& shape, double bytes, Make make) {
    KernelCase made{"memory", name, shape, bytes, 0, {}};
    made.prepare = [make](Arrays* arrays) -> Result<Launch> {
      Launch launch = make(arrays);
      RETURN_IF_ERROR(arrays->status());
      return launch;
    };
    cases_.push_back(std::move(made));
  }

  void add_copy();
  void add_norms();
  void add_activations();
  void add_dropout();
  void add_float8();
  void add_embedding();
  void add_loss();
  void add_optimizer();

  std::vector<KernelCase> take() { return std::move(cases_); }

 private:
  Sizes sizes_;
  std::vector<KernelCase> cases_;
};

void Cases::add_copy() {
  const size_t bytes = sizes_.copy_bytes;
  add("copy_on_device", std::to_string(bytes >> 20) + " MiB", 2.0 * static_cast<double>(bytes), [=](Arrays* arrays) {
    const float* const from = arrays->random(bytes / sizeof(float));
    float* const to = arrays->output(bytes / sizeof(float));
    return [=](CudaStream stream) { return copy_on_device(to, from, bytes, stream); };
  });
  cases_.back().group = "copy";
}

void Cases::add_norms() {
  const NormShape shape{sizes_.rows(), sizes_.width()};
  const size_t count = shape.rows * shape.width;
  const auto elements = static_cast<double>(count), rows = static_cast<double>(shape.rows);
  const std::string text = matrix(shape.rows, shape.width);
  add("layer_norm_forward", text, 4 * elements + 8 * rows, [=](Arrays* a) {
    const Bfloat16 *x = a->random16(count), *weight = a->random16(shape.width), *bias = a->random16(shape.width);
    Bfloat16* const y = a->output16(count);
    float *const mean = a->output(shape.rows), *const scale = a->output(shape.rows);
    return [=](CudaStream stream) {
      return layer_norm_forward(shape, x, nullptr, weight, bias, nullptr, y, mean, scale, stream);
    };
  });
  add("layer_norm_forward with a residual", text, 8 * elements + 8 * rows, [=](Arrays* a) {
    const Bfloat16 *x = a->random16(count), *add = a->random16(count);
    const Bfloat16 *weight = a->random16(shape.width), *bias = a->random16(shape.width);
    Bfloat16 *const sum = a->output16(count), *const y = a->output16(count);
    float *const mean = a->output(shape.rows), *const scale = a->output(shape.rows);
    return
        [=](CudaStream stream) { return layer_norm_forward(shape, x, add, weight, bias, sum, y, mean, scale, stream); };
  });
  add("layer_norm_backward", text, 8 * elements + 8 * rows, [=](Arrays* a) {
    const Bfloat16 *h = a->random16(count), *dy = a->random16(count), *weight = a->random16(shape.width);
    const float *mean = a->random(shape.rows, 0.01F), *scale = a->random(shape.rows);
    Bfloat16* const dh = a->random16(count, 0.01F);
    float *const dweight = a->output(shape.width), *const dbias = a->output(shape.width);
    float* const dh_sum = a->output(shape.width);
    auto* const scratch = static_cast<float*>(a->scratch(norm_backward_scratch(shape) * sizeof(float)));
    return [=](CudaStream stream) {
      return layer_norm_backward(shape, h, weight, mean, scale, dy, false, dh, dweight, dbias, dh_sum, scratch, stream);
    };
  });
  add("norm_again", text, 4 * elements + 8 * rows, [=](Arrays* a) {
    const Bfloat16 *h = a->random16(count), *weight = a->random16(shape.width), *bias = a->random16(shape.width);
    const float *mean = a->random(shape.rows, 0.01F), *scale = a->random(shape.rows);
    Bfloat16* const y = a->output16(count);
    return [=](CudaStream stream) { return norm_again(shape, h, weight, bias, mean, scale, y, stream); };
  });
  add("rms_norm_forward with a residual", text, 8 * elements + 4 * rows, [=](Arrays* a) {
    const Bfloat16 *x = a->random16(count), *add = a->random16(count), *weight = a->random16(shape.width);
    Bfloat16 *const sum = a->output16(count), *const y = a->output16(count);
    float* const scale = a->output(shape.rows);
    return [=](CudaStream stream) { return rms_norm_forward(shape, x, add, weight, sum, y, scale, stream); };
  });
}

void Cases::add_activations() {
  const size_t rows = sizes_.rows(), inner = 4 * sizes_.width(), count = rows * inner;
  const auto elements = static_cast<double>(count);
  add("gelu_forward", matrix(rows, inner), 4 * elements, [=](Arrays* a) {
    const Bfloat16* const z = a->random16(count, 3);
    Bfloat16* const y = a->output16(count);
    return [=](CudaStream stream) { return gelu_forward(count, z, y, stream); };
  });
  add("swiglu_forward", matrix(rows, inner), 6 * elements, [=](Arrays* a) {
    const Bfloat16* const gate_up = a->random16(2 * count, 3);
    Bfloat16* const y = a->output16(count);
    return [=](CudaStream stream) { return swiglu_forward(rows, inner, gate_up, y, stream); };
  });
  add("swiglu_backward", matrix(rows, inner), 10 * elements, [=](Arrays* a) {
    const Bfloat16 *gate_up = a->random16(2 * count, 3), *dy = a->random16(count);
    Bfloat16* const d_gate_up = a->output16(2 * count);
    return [=](CudaStream stream) { return swiglu_backward(rows, inner, gate_up, dy, d_gate_up, stream); };
  });
  add("bias_backward", matrix(rows, inner), 2 * elements, [=](Arrays* a) {
    const Bfloat16* const x = a->random16(count);
    float* const sums = a->output(inner);
    auto* const scratch = static_cast<float*>(a->scratch(bias_backward_scratch({rows, inner, inner}) * sizeof(float)));
    return [=](CudaStream stream) { return bias_backward({rows, inner, inner}, x, sums, scratch, stream); };
  });
  const kernels::RopeShape rope{rows, sizes_.heads, sizes_.head, sizes_.width()};
  const auto table = kernels::rope_table(sizes_.length, sizes_.head, 10000);
  add("rope_forward", matrix(rows, sizes_.width()), 4 * static_cast<double>(rows * sizes_.width()),
      [rope, table, length = sizes_.length](Arrays* a) {
        const float* const on_device = a->copy_of(table);
        Bfloat16* const x = a->random16(rope.rows * rope.stride);
        return [=](CudaStream stream) { return rope_forward(rope, length, on_device, x, stream); };
      });
}

void Cases::add_dropout() {
  const size_t rows = sizes_.rows(), width = sizes_.width(), count = rows * width;
  const kernels::Dropout dropout{0.1F, 1, 0};
  add("dropout", matrix(rows, width), 4 * static_cast<double>(count), [=](Arrays* a) {
    const DropoutPlace* const place = a->copy_of(std::vector<DropoutPlace>{{}});
    const Bfloat16* const x = a->random16(count);
    Bfloat16* const y = a->output16(count);
    return [=](CudaStream stream) { return cuda::dropout(dropout, place, count, x, y, stream); };
  });
  add("dropout_backward", matrix(rows, width), 4 * static_cast<double>(count), [=](Arrays* a) {
    const DropoutPlace* const place = a->copy_of(std::vector<DropoutPlace>{{}});
    const Bfloat16* const dy = a->random16(count);
    Bfloat16* const dx = a->output16(count);
    float* const sums = a->output(width);
    auto* const scratch = static_cast<float*>(a->scratch(dropout_backward_scratch(rows, width) * sizeof(float)));
    return
        [=](CudaStream stream) { return dropout_backward(dropout, place, rows, width, dy, dx, sums, scratch, stream); };
  });
}

// As in a step with a history: values are read once.
void Cases::add_float8() {
  const size_t rows = sizes_.rows(), inner = 4 * sizes_.width(), count = rows * inner;
  for (const bool both_orders : {false, true}) {
    add(both_orders ? "quantize_float8, both orders" : "quantize_float8", matrix(rows, inner),
        (both_orders ? 4 : 3) * static_cast<double>(count), [=](Arrays* a) {
          const Bfloat16* const x = a->random16(count);
          Float8Scale* const scale = a->copy_of(std::vector<Float8Scale>{{1, 1, 0, 0}});
          auto* const y = static_cast<kernels::Float8*>(a->scratch(count));
          auto* const transposed = both_orders ? static_cast<kernels::Float8*>(a->scratch(count)) : nullptr;
          return [=](CudaStream stream) {
            return quantize_float8({rows, inner, inner, inner, rows}, x, scale, y, transposed, stream);
          };
        });
  }
}

void Cases::add_embedding() {
  const size_t rows = sizes_.rows(), width = sizes_.width(), length = sizes_.length, vocabulary = sizes_.vocabulary;
  const auto elements = static_cast<double>(rows * width);
  // Of the table only rows that occur are read: how many differ is to be expected of that many uniform draws.
  const auto v = static_cast<double>(vocabulary);
  const double different = -v * std::expm1(static_cast<double>(rows) * std::log1p(-1 / v));
  const double table_elements = different * static_cast<double>(width);
  const std::string text = matrix(rows, width);
  add("embedding_forward", text, 2 * (elements + table_elements + static_cast<double>(length * width)), [=](Arrays* a) {
    const int32_t* const tokens = a->random_below(rows, vocabulary);
    const Bfloat16 *table = a->random16(vocabulary * width), *positions = a->random16(length * width);
    Bfloat16* const out = a->output16(rows * width);
    return [=](CudaStream stream) {
      return embedding_forward(rows, width, length, tokens, table, positions, out, stream);
    };
  });
  add("embedding_backward", text, 2 * elements + 8 * table_elements, [=](Arrays* a) {
    Philox philox(3, stream_of("tokens"));
    std::vector<int32_t> tokens(rows), runs(token_runs_size(rows));
    for (size_t i = 0; i < rows; ++i) tokens[i] = static_cast<int32_t>(philox.below(i, vocabulary));
    token_runs(tokens, vocabulary, runs);
    const int32_t* const on_device = a->copy_of(runs);
    const Bfloat16* const dout = a->random16(rows * width);
    float* const dtable = a->random(vocabulary * width);
    auto* const scratch = static_cast<float*>(a->scratch(embedding_backward_scratch(rows, width) * sizeof(float)));
    return [=](CudaStream stream) { return embedding_backward(rows, width, on_device, dout, dtable, scratch, stream); };
  });
  add("position_backward", text, 2 * elements + 4 * static_cast<double>(length * width), [=](Arrays* a) {
    const Bfloat16* const dout = a->random16(rows * width);
    float* const dpositions = a->output(length * width);
    return [=](CudaStream stream) { return position_backward(rows, width, length, dout, dpositions, stream); };
  });
}

void Cases::add_loss() {
  const LogitChunk chunk{sizes_.chunk_rows, sizes_.vocabulary, (sizes_.vocabulary + 127) / 128 * 128};
  const auto logits_bytes = 2 * static_cast<double>(chunk.rows * chunk.stride);
  add("cross_entropy_forward", matrix(chunk.rows, chunk.columns), logits_bytes, [=](Arrays* a) {
    const Bfloat16* const logits = a->random16(chunk.rows * chunk.stride, 5);
    const int32_t* const targets = a->random_below(chunk.rows, chunk.columns);
    float* const losses = a->output(chunk.rows);
    return [=](CudaStream stream) { return cross_entropy_forward(chunk, logits, targets, losses, stream); };
  });
  add("cross_entropy_backward", matrix(chunk.rows, chunk.columns), 2 * logits_bytes, [=](Arrays* a) {
    Bfloat16* const logits = a->random16(chunk.rows * chunk.stride, 5);
    const int32_t* const targets = a->random_below(chunk.rows, chunk.columns);
    const float* const scale = a->copy_of(std::vector<float>{1.0F});
    float* const losses = a->output(chunk.rows);
    return [=](CudaStream stream) { return cross_entropy_backward(chunk, scale, targets, logits, losses, stream); };
  });
}

void Cases::add_optimizer() {
  const size_t count = sizes_.parameters;
  const auto elements = static_cast<double>(count);
  const std::string text = std::to_string(count);
  for (int version = 1; version <= kAdamWVersions; ++version) {
    add("adamw, version " + std::to_string(version), text, 30 * elements, [=](Arrays* a) {
      StepInput input;
      input.step = 1;
      kernels::set_corrections(1, &input.adamw);
      StepOutput output;
      output.is_applied = 1;
      const StepInput* const in = a->copy_of(std::vector<StepInput>{input});
      const StepOutput* const out = a->copy_of(std::vector<StepOutput>{output});
      AdamWSegment segment;
      segment.count = count;
      segment.gradient = a->random(count, 0.01F);
      segment.w = a->random(count);
      segment.m = a->random(count, 0.001F);
      segment.v = a->zeros(count);
      segment.rounded = a->output16(count);
      return [=](CudaStream stream) { return adamw(segment, in, out, stream, version); };
    });
  }
  add("tree_add", text, 12 * elements, [=](Arrays* a) {
    const float* const b = a->random(count, 0.001F);
    float* const sum = a->random(count);
    return [=](CudaStream stream) { return tree_add(count, b, sum, stream); };
  });
  add("block_sums_of_squares", text, 4 * elements, [=](Arrays* a) {
    const float* const values = a->random(count);
    auto* const sums =
        static_cast<double*>(a->scratch((count + kernels::kBlock - 1) / kernels::kBlock * sizeof(double)));
    return [=](CudaStream stream) { return block_sums_of_squares(count, values, sums, stream); };
  });
}

}  // namespace

std::vector<KernelCase> memory_bound_cases(const Sizes& sizes) {
  Cases cases(sizes);
  cases.add_copy();
  cases.add_norms();
  cases.add_activations();
  cases.add_dropout();
  cases.add_float8();
  cases.add_embedding();
  cases.add_loss();
  cases.add_optimizer();
  return cases.take();
}

}  // namespace freshet::cuda
