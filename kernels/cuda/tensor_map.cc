#include "kernels/cuda/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>
#include <string>

#include "kernels/cuda/checked.h"

namespace freshet::cuda {
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));

struct Driver {
  decltype(&cuTensorMapEncodeTiled) encode;
};

// The driver's library is found through the runtime, so that the program starts on a machine without one.
Result<Driver> find_driver() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  RETURN_IF_ERROR(
      checked(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result),
              "cudaGetDriverEntryPointByVersion"));
  if (result != cudaDriverEntryPointSuccess) return unavailable("the GPU's driver has no cuTensorMapEncodeTiled");
  return Driver{reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found)};
}

CUtensorMapDataType type_of(TensorMapShape::Element element) {
  switch (element) {
    case TensorMapShape::Element::kBfloat16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case TensorMapShape::Element::kFloat32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case TensorMapShape::Element::kFloat8:
      return CU_TENSOR_MAP_DATA_TYPE_UINT8;
  }
  return CU_TENSOR_MAP_DATA_TYPE_UINT8;
}

size_t bytes_of(TensorMapShape::Element element) {
  if (element == TensorMapShape::Element::kFloat8) return 1;
  return element == TensorMapShape::Element::kBfloat16 ? 2 : 4;
}

}  // namespace

Result<TensorMap> make_tensor_map(const TensorMapShape& shape) {
  static const Result<Driver> driver = find_driver();
  RETURN_IF_ERROR(driver.status());
  if (shape.rank < 2 || shape.rank > kTensorRankMax)
    return invalid_argument("tensor map: the rank is not one of 2 to 4");
  if (shape.is_swizzled && shape.box[0] * bytes_of(shape.element) != 128) {
    return invalid_argument("tensor map: rows of a swizzled tile that have not 128 bytes");
  }
  cuuint64_t extents[kTensorRankMax], strides[kTensorRankMax];
  cuuint32_t box[kTensorRankMax], steps[kTensorRankMax];
  for (unsigned d = 0; d < shape.rank; ++d) {
    extents[d] = shape.extents[d];
    box[d] = shape.box[d];
    steps[d] = 1;
    if (d > 0) strides[d - 1] = shape.strides[d] * bytes_of(shape.element);
  }
  CUtensorMap made;
  const CUresult result = driver->encode(&made, type_of(shape.element), shape.rank, shape.data, extents, strides, box,
                                         steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                         shape.is_swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return invalid_argument("tensor map: cuTensorMapEncodeTiled refused it with " + std::to_string(result));
  }
  TensorMap map;
  std::memcpy(map.opaque, &made, sizeof(made));
  return map;
}

}  // namespace freshet::cuda
