// Rotary position embedding (Su et al., "RoFormer", 2021) in the half-split convention of the Llama files: elements i
// and i + size / 2 of a head are turned by the angle position * base^(-2 i / size). In place over rows of `stride`
// floats, of which the first heads * size are turned. Element-wise. Any thread.
#pragma once

#include <cstddef>
#include <vector>

namespace freshet::kernels {

struct RopeShape {
  size_t rows = 0;
  size_t heads = 0;
  size_t size = 0;  // of a head; even
  size_t stride = 0;
};

// For each position: size / 2 cosines, then as many sines. Made with the C library's functions, in double.
std::vector<float> rope_table(size_t positions, size_t size, double base);

// Row r stands at position first + r of `table`.
void rope_forward(const RopeShape& shape, const float* table, size_t first, float* x);
// The transpose of that rotation: from the gradient of its output to that of its input.
void rope_gradient(const RopeShape& shape, const float* table, size_t first, float* dx);

namespace ref {
void rope(const RopeShape& shape, double base, size_t first, bool backwards, float* x);
}  // namespace ref

}  // namespace freshet::kernels
