#include "worker/gpu/gpt_device_float8.h"

#include <algorithm>

#include "base/check.h"

namespace freshet::worker {

std::span<cuda::Float8History> GptDeviceFloat8::histories() const {
  return {reinterpret_cast<cuda::Float8History*>(arena_ + plan_.float8_histories),
          kFloat8Arrays * plan_.float8_dense.size()};
}

std::span<cuda::Float8Scale> GptDeviceFloat8::scales() const {
  return {reinterpret_cast<cuda::Float8Scale*>(arena_ + plan_.float8_scales),
          kFloat8Arrays * plan_.float8_dense.size()};
}

cuda::Float8Scale* GptDeviceFloat8::scale(const GptDense& dense, Float8Array array) const {
  const auto found = std::ranges::lower_bound(plan_.float8_dense, dense.weight, {}, &GptDense::weight);
  CHECK(found != plan_.float8_dense.end() && found->weight == dense.weight);
  const auto number = static_cast<size_t>(found - plan_.float8_dense.begin());
  return &scales()[kFloat8Arrays * number + static_cast<size_t>(array)];
}

kernels::Float8* GptDeviceFloat8::weight(const GptDense& dense, bool outputs_first) const {
  // The flat parameters have inputs_first; the other order lies beside it.
  const bool as_it_is = dense.inputs_first != outputs_first;
  std::byte* const all = arena_ + (as_it_is ? plan_.float8_weights : plan_.float8_weights_transposed);
  return reinterpret_cast<kernels::Float8*>(all + (dense.weight - plan_.float8_dense.front().weight));
}

Status GptDeviceFloat8::begin_step(const kernels::Bfloat16* weights, cuda::CudaStream stream) const {
  RETURN_IF_ERROR(cuda::begin_float8_step(scales().size(), histories().data(), scales().data(), stream));
  for (const GptDense& dense : plan_.float8_dense) {
    const size_t rows = dense.inputs_first ? dense.inputs : dense.outputs;
    const size_t columns = dense.inputs_first ? dense.outputs : dense.inputs;
    RETURN_IF_ERROR(cuda::quantize_float8({rows, columns, columns, columns, rows}, weights + dense.weight,
                                          scale(dense, Float8Array::kWeight), weight(dense, !dense.inputs_first),
                                          weight(dense, dense.inputs_first), stream));
  }
  return Status::ok();
}

}  // namespace freshet::worker
