#include "kernels/cuda/tensor_map.h"

#include "kernels/cuda/emulated/tensor_maps.h"

namespace freshet::cuda {

// What cuTensorMapEncodeTiled demands.
Result<TensorMap> make_tensor_map(const TensorMapShape& shape) {
  const unsigned size = emulated::element_bytes(shape.element);
  auto refused = [](const std::string& why) { return invalid_argument("tensor map: " + why); };
  if (shape.rank < 2 || shape.rank > kTensorRankMax) return refused("the rank is not one of 2 to 4");
  if (shape.data == nullptr || reinterpret_cast<uintptr_t>(shape.data) % 16 != 0)
    return refused("a border of 16 bytes");
  for (unsigned d = 0; d < shape.rank; ++d) {
    if (shape.extents[d] == 0 || shape.extents[d] > uint64_t{1} << 32) return refused("an extent");
    if (shape.box[d] == 0 || shape.box[d] > 256) return refused("the extent of a tile");
    if (d > 0 && (shape.strides[d] * size % 16 != 0 || shape.strides[d] * size >= uint64_t{1} << 40)) {
      return refused("a stride");
    }
  }
  const unsigned row_bytes = shape.box[0] * size;
  if (row_bytes % 16 != 0) return refused("rows of a tile that are no multiple of 16 bytes");
  if (shape.is_swizzled && row_bytes != 128) return refused("rows of a swizzled tile that have not 128 bytes");
  TensorMap map{};
  std::memcpy(map.opaque, &shape, sizeof(shape));
  return map;
}

}  // namespace freshet::cuda
