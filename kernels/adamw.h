// One fused step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) over flat float
// arrays of `count` elements that do not overlap. Elementwise, no contraction: every version gives the same bits, for
// any split of the arrays. With g = gradient_scale * gradient:
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + ((1 - beta2) g) g
//   w = w - learning_rate * ((m * correction1) / (sqrt(v * correction2) + epsilon) + weight_decay * w)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bfloat16.h"

namespace freshet::kernels {

struct AdamWStep {
  float learning_rate = 1e-3F;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;
  float gradient_scale = 1.0F;  // the clipping factor
  float correction1 = 1.0F;     // 1 / (1 - beta1^t), t = 1 for the first step
  float correction2 = 1.0F;     // 1 / (1 - beta2^t)
};

// Fills the two corrections for step t (from 1).
void set_corrections(uint64_t t, AdamWStep* step);

// On the calling thread.
void adamw(const AdamWStep& step, size_t count, const float* gradient, float* w, float* m, float* v);
// The same, and the new weights once more as bfloat16.
void adamw_and_round(const AdamWStep& step, size_t count, const float* gradient, float* w, float* m, float* v,
                     Bfloat16* rounded);

namespace ref {
void adamw(const AdamWStep& step, size_t count, const float* gradient, float* w, float* m, float* v);
}  // namespace ref

}  // namespace freshet::kernels
