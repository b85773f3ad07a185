// Stands in for CUB.
#include "kernels/cuda/radix_sort.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/cuda/emulated/streams.h"

namespace freshet::cuda {

Result<size_t> radix_sort_scratch(size_t, unsigned) { return size_t{256}; }

Status radix_sort_pairs(size_t count, unsigned bits, const uint32_t* keys, const uint32_t* values,
                        uint32_t* sorted_keys, uint32_t* sorted_values, std::byte* scratch, size_t scratch_bytes,
                        CudaStream stream) {
  return emulated::queue_work(stream, [=]() -> Status {
    if (scratch == nullptr || scratch_bytes == 0) return internal("radix_sort_pairs: no scratch memory");
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    const auto mask = static_cast<uint32_t>((uint64_t{1} << bits) - 1);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return (keys[a] & mask) < (keys[b] & mask); });
    for (size_t i = 0; i < count; ++i) {
      sorted_keys[i] = keys[order[i]];
      sorted_values[i] = values[order[i]];
    }
    return Status::ok();
  });
}

}  // namespace freshet::cuda
