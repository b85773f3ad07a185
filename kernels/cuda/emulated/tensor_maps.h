// What an emulated tensor map holds. Internal to kernels/cuda/emulated.
#pragma once

#include <cstring>

#include "kernels/cuda/tensor_map.h"

namespace freshet::cuda::emulated {

static_assert(sizeof(TensorMapShape) <= sizeof(TensorMap));

inline TensorMapShape shape_of(const TensorMap& map) {
  TensorMapShape shape;
  std::memcpy(&shape, map.opaque, sizeof(shape));
  return shape;
}

inline unsigned element_bytes(TensorMapShape::Element element) {
  if (element == TensorMapShape::Element::kFloat8) return 1;
  return element == TensorMapShape::Element::kBfloat16 ? 2 : 4;
}

inline unsigned tile_bytes(const TensorMapShape& shape) {
  unsigned bytes = element_bytes(shape.element);
  for (unsigned d = 0; d < shape.rank; ++d) bytes *= shape.box[d];
  return bytes;
}

}  // namespace freshet::cuda::emulated
