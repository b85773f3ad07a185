// Files of tensors in the safetensors format, as the ecosystem reads it; written as float32 only. Writing gives the
// same bytes for the same tensors. Reading trusts nothing: a file from anywhere is either wholly valid or refused.
// Plain memory; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "worker/checkpoint/safetensors_header.h"
#include "worker/checkpoint/tensors.h"

namespace freshet::worker {

// Tensors in the order of their names.
std::string write_safetensors(const std::vector<TensorView>& tensors, const float* values);

struct Safetensors {
  std::vector<TensorView> tensors;  // in the order of their data, offsets into `values`
  std::vector<float> values;
};

// The tensors in the order of their data, and the data, of a wholly valid file of any dtype; it shows `bytes`.
// kCorrupt says what is wrong: a cut file, a header that is too long, not JSON or has a key twice, an unknown field, a
// size that overflows or differs from its shape, data that overlaps or that no tensor owns.
Result<SafetensorsParts> check_safetensors(std::string_view bytes);

// The same with the values; invalid_argument for a dtype other than F32.
Result<Safetensors> parse_safetensors(std::string_view bytes);

}  // namespace freshet::worker
