// One warpgroup's product D[64][n] = A[64][k] * B[k][n], and a tile that goes through shared memory, to test wgmma.cuh
// and tma.cuh where they are compiled for a device, too. Tests only.
#pragma once

#include "kernels/bfloat16.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/tensor_map.h"

namespace freshet::cuda {

struct WarpgroupTest {
  int n = 64;
  size_t k = 0;  // a multiple of 64; of 128 for is_float8
  bool is_float8 = false;
  bool a_mn_major = false;  // A is stored as [k][64]
  bool b_mn_major = false;  // B is stored as [k][n], else as [n][k]
  bool a_in_registers = false;
};

Status run_warpgroup_test(const WarpgroupTest& test, void* a, void* b, float* d, CudaStream stream);

// to[..] = from[..] of the array that both maps describe, by tiles of `box`, of which a block moves one.
Status move_tiles(const TensorMapShape& from, const TensorMapShape& to, CudaStream stream);

}  // namespace freshet::cuda
