// Matrix products of operands that lie in a core's nearest caches, such as those of a tile of attention, where a
// library's call costs more than it does. Each element is summed in ascending order of k from 0, or from what C holds,
// with every product and sum rounded on its own: the bits know neither the other rows and columns nor the instruction
// set. On the calling thread. Internal to kernels/cpu.
#pragma once

#include <cstddef>

#include "kernels/matmul.h"

namespace freshet::kernels {

// As matmul.h says, but B is not transposed: b[k][n].
void small_matmul(const MatmulShape& shape, const Matrix& a, const float* b, size_t b_stride, float* c,
                  size_t c_stride);

// to[columns][rows] = from[rows][columns], for what a product wants transposed.
void transpose(size_t rows, size_t columns, const float* from, size_t from_stride, float* to, size_t to_stride);

}  // namespace freshet::kernels
