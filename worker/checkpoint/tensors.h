// Names, shapes and digests of tensors, apart from any file format. All tensors here are float32 and row-major.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace freshet::worker {

// A tensor inside a flat float array.
struct TensorView {
  std::string name;
  std::vector<uint64_t> shape;
  size_t offset = 0;
  size_t size = 0;  // elements: the product of the shape
};

// 64 hex digits over the tensors in the order of their names' bytes. For each: the name's length and bytes, the length
// and bytes of the dtype ("F32"), the number of dimensions, each dimension, then the elements; all numbers are 8 bytes
// little endian. It does not know of files, so it outlives any format.
std::string weights_digest(const std::vector<TensorView>& tensors, const float* values);

}  // namespace freshet::worker
