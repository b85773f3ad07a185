// What a cross layer does beside its matrix product (Wang et al., "DCN V2", WWW 2021):
//   y = x0 * (W x + bias) + x, elementwise, for x0 the features and x the layer below, all [rows][width], dense.
// `u` is W x on the way in and W x + bias on the way out, which the gradient wants. Elementwise, so the bits depend on
// the values only; the bias gradient is summed in row order. No overlap, but y may be x. Any thread.
#pragma once

#include <cstddef>

namespace freshet::kernels {

void cross_layer_forward(size_t rows, size_t width, const float* x0, const float* x, const float* bias, float* u,
                         float* y);

// du = dy * x0, of which dbias is the sum over the rows; dx0 += dy * u. What is left is the caller's:
// dx = dy + W^T du and dW = du^T x.
void cross_layer_gradient(size_t rows, size_t width, const float* x0, const float* u, const float* dy, float* du,
                          float* dx0, float* dbias);

namespace ref {
void cross_layer_forward(size_t rows, size_t width, const float* x0, const float* x, const float* bias, float* u,
                         float* y);
void cross_layer_gradient(size_t rows, size_t width, const float* x0, const float* u, const float* dy, float* du,
                          float* dx0, float* dbias);
}  // namespace ref

}  // namespace freshet::kernels
