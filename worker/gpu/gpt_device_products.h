// The matrix products of a gpt's micro-batch on a device: their shapes, which the command that tunes asks for, and
// which the pass runs. Plain computation, without a device.
#pragma once

#include <vector>

#include "kernels/cuda/products.h"
#include "worker/gpu/gpt_device_plan.h"
#include "worker/model/gpt_layout.h"

namespace freshet::worker {

// y[rows][outputs] = x * w, and what the epilogue does.
cuda::ProductShape forward_product(const GptDense& dense, size_t rows, cuda::Epilogue epilogue);
// dx[rows][inputs] = dy * w^T.
cuda::ProductShape input_gradient_product(const GptDense& dense, size_t rows, cuda::Epilogue epilogue);
// dw = x^T * dy, or its transpose where w is [outputs][inputs]; float. kBiasGradient, where the sums of dy are wanted,
// is for a w that is [inputs][outputs].
cuda::ProductShape weight_gradient_product(const GptDense& dense, size_t rows, cuda::Epilogue epilogue);

// A layer's product with its operands in 8 bits.
cuda::ProductShape in_float8(cuda::ProductShape shape);

// Of the output matrix [vocabulary][width], with `rows` rows of the final norm at a time.
cuda::ProductShape logits_product(const GptConfig& config, size_t rows);
cuda::ProductShape logits_input_gradient_product(const GptConfig& config, size_t rows);
cuda::ProductShape logits_weight_gradient_product(const GptConfig& config, size_t rows, bool is_first);
// The logits after the last token of each sequence; float.
cuda::ProductShape next_token_product(const GptConfig& config, size_t sequences);

// What follows the product of a dense layer: its bias, if it has one.
cuda::Epilogue bias_of(const GptDense& dense);
// Of the gradient of the weights before attention, whose bias no other kernel sums; of the others it is summed by what
// makes dy (gpt_device_backward.cc).
cuda::Epilogue qkv_bias_gradient_of(const GptDense& qkv);
// Of the product before the activation, and of the gradient of what left it.
cuda::Epilogue activation_of(const GptConfig& config);
cuda::Epilogue activation_gradient_of(const GptConfig& config);

// All that a plan's passes run: forward_backward() where it is for training, losses() and next_token_logits().
// Ascending, each once.
std::vector<cuda::ProductShape> gpt_device_products(const GptConfig& config, const GptDevicePlan& plan);

}  // namespace freshet::worker
