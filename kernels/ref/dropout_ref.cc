#include "kernels/dropout.h"

#include <cmath>

#include "base/random.h"

namespace freshet::kernels::ref {

void dropout(const Dropout& d, uint64_t first, size_t count, float* x) {
  Philox philox(d.seed, d.stream);
  for (size_t i = 0; i < count; ++i) {
    uint32_t word = philox.block((first + i) / 4)[(first + i) % 4];
    bool kept = static_cast<double>(word) >= std::floor(static_cast<double>(d.probability) * 0x1p32);
    x[i] = kept ? x[i] * (1.0F / (1.0F - d.probability)) : x[i] * 0;
  }
}

}  // namespace freshet::kernels::ref
