// What an epilogue of products.h does to one value, in float. The epilogue is known when compiled or when it runs.
#pragma once

#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/products.h"

namespace freshet::cuda {

// Of a product with its bias. A NaN stays one.
__device__ __forceinline__ float activated(Epilogue epilogue, float value) {
  if (epilogue == Epilogue::kBiasGelu) return gelu(value);
  if (epilogue == Epilogue::kBiasRelu) return value < 0 ? 0.0F : value;
  return value;
}

// The gradient of what went into the activation, from that of what left it. `z` as products.h has it.
__device__ __forceinline__ float gradient_before(Epilogue epilogue, float z, float gradient) {
  if (epilogue == Epilogue::kGeluGradient) return gradient * gelu_slope(z);
  if (epilogue == Epilogue::kReluGradient) return z == 0 ? 0.0F : gradient;
  return gradient;
}

}  // namespace freshet::cuda
