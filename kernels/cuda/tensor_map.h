// Tensor maps: how the copy engine of compute capability 9.0 and newer (tma.cuh) sees an array in device memory. Made
// on the host, given to a kernel by value as `const __grid_constant__ TensorMap`, never changed on the device. Any
// thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace freshet::cuda {

// The driver's CUtensorMap, or that of the emulation.
struct alignas(128) TensorMap {
  std::byte opaque[128];
};

inline constexpr unsigned kTensorRankMax = 4;

struct TensorMapShape {
  enum class Element { kBfloat16, kFloat32, kFloat8 };
  Element element = Element::kBfloat16;
  void* data = nullptr;  // on a border of 16 bytes
  // The first dimension is the one whose elements are neighbours. A tile that reaches over an end reads zeros there and
  // writes nothing.
  unsigned rank = 2;  // 2 to kTensorRankMax
  std::array<uint64_t, kTensorRankMax> extents{};
  std::array<uint64_t, kTensorRankMax> strides{};  // in elements, from the second dimension on; multiples of 16 bytes
  std::array<unsigned, kTensorRankMax> box{};      // extents of a tile, at most 256; the first one of 16 bytes at least
  // Each row of the tile (its first dimension) has 128 bytes in shared memory, where it lies on a border of 1024: bits
  // 4 to 6 of an address are exclusive-ored with its bits 7 to 9. The layout of wgmma.cuh.
  bool is_swizzled = true;
};

// invalid_argument for a shape that cannot be; unavailable where the driver is too old.
Result<TensorMap> make_tensor_map(const TensorMapShape& shape);

}  // namespace freshet::cuda
