// The sums of the engine that cross micro-batches and ranks, in orders that never change: an addition of two partial
// sums (the tree's step), and sums over blocks of kBlock elements counted from the start of the whole vector, so that
// they do not know where one rank's part ends. Any thread.
#pragma once

#include <cstddef>

namespace freshet::kernels {

inline constexpr size_t kBlock = 1024;

// a += b, elementwise.
void tree_add(size_t count, const float* b, float* a);

// sums[i] = sum of squares, in double, of values[i * kBlock, (i + 1) * kBlock); the last block may be short. Within a
// block: eight running sums over the elements with the same index modulo 8, then ((0+1)+(2+3))+((4+5)+(6+7)).
void block_sums_of_squares(size_t count, const float* values, double* sums);

namespace ref {
void block_sums_of_squares(size_t count, const float* values, double* sums);
}  // namespace ref

}  // namespace freshet::kernels
