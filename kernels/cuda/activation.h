// kernels/activation.h on a device: values bfloat16, dense, arithmetic in float. The bias is the product's affair
// (products.h). Elementwise but for the sums over columns, whose order depends on the shape alone. Borders of 16 bytes;
// counts and columns are multiples of 8. Work is queued on the stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/dropout.h"

namespace freshet::cuda {

// y = gelu(z), in the form with tanh; y may be z. Its gradient is an epilogue of the product that makes dy.
Status gelu_forward(size_t count, const kernels::Bfloat16* z, kernels::Bfloat16* y, CudaStream stream);

// gate_up[rows][2 * columns]: gate, then up; y[rows][columns] = gate * sigmoid(gate) * up.
Status swiglu_forward(size_t rows, size_t columns, const kernels::Bfloat16* gate_up, kernels::Bfloat16* y,
                      CudaStream stream);
// d_gate_up lies as gate_up does.
Status swiglu_backward(size_t rows, size_t columns, const kernels::Bfloat16* gate_up, const kernels::Bfloat16* dy,
                       kernels::Bfloat16* d_gate_up, CudaStream stream);

// What of dropout's masks differs from step to step and from one micro-batch to the next. The host writes it to device
// memory, so that a graph serves all of them.
struct DropoutPlace {
  uint64_t stream = 0;  // Dropout::stream
  uint64_t first = 0;   // element of the whole tensor; a multiple of 4
};
// kernels/dropout.h with the same mask: y[i] = element first + i kept ? x[i] / (1 - probability) : 0; y may be x.
// `place` is device memory; the stream of `dropout` itself is not looked at.
Status dropout(const kernels::Dropout& dropout, const DropoutPlace* place, size_t count, const kernels::Bfloat16* x,
               kernels::Bfloat16* y, CudaStream stream);
// Floats of `scratch`.
size_t dropout_backward_scratch(size_t rows, size_t columns);
// dx[rows][columns] = dropout() of dy, and sums[c] = the sum of dx's column c, each element as it was before it was
// rounded: the gradient of the bias of what the mask lay on.
Status dropout_backward(const kernels::Dropout& dropout, const DropoutPlace* place, size_t rows, size_t columns,
                        const kernels::Bfloat16* dy, kernels::Bfloat16* dx, float* sums, float* scratch,
                        CudaStream stream);

}  // namespace freshet::cuda
