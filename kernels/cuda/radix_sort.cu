#include "kernels/cuda/radix_sort.h"

#include <cub/device/device_radix_sort.cuh>

#include "kernels/cuda/checked.h"

namespace freshet::cuda {

Result<size_t> radix_sort_scratch(size_t count, unsigned bits) {
  size_t bytes = 0;
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  RETURN_IF_ERROR(checked(cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out, static_cast<int>(count), 0,
                                                          static_cast<int>(bits)),
                          "cub::DeviceRadixSort::SortPairs"));
  return bytes;
}

Status radix_sort_pairs(size_t count, unsigned bits, const uint32_t* keys, const uint32_t* values,
                        uint32_t* sorted_keys, uint32_t* sorted_values, std::byte* scratch, size_t scratch_bytes,
                        CudaStream stream) {
  return checked(cub::DeviceRadixSort::SortPairs(scratch, scratch_bytes, keys, sorted_keys, values, sorted_values,
                                                 static_cast<int>(count), 0, static_cast<int>(bits), stream),
                 "cub::DeviceRadixSort::SortPairs");
}

}  // namespace freshet::cuda
