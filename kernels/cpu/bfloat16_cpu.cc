#include "kernels/bfloat16.h"

#include "kernels/cpu/multiversion.h"

namespace freshet::kernels {

FRESHET_MULTIVERSION void to_bfloat16(size_t rows, size_t columns, size_t stride, const float* __restrict from,
                                      Bfloat16* __restrict to) {
  for (size_t r = 0; r < rows; ++r, from += stride, to += stride) {
    for (size_t c = 0; c < columns; ++c) to[c] = to_bfloat16(from[c]);
  }
}

}  // namespace freshet::kernels
