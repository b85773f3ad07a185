// The warp's matrix instructions against plain products of the matrices, by the layouts in the PTX ISA's tables. They
// are instructions of device code, so these tests run over the emulation only.
#include "kernels/cuda/mma.cuh"

#include "tests/unit/kernels_cuda/support.h"

namespace freshet::cuda {
namespace {

using MmaEmulation = CudaTest;

unsigned pair_of(float low, float high) {
  return kernels::to_bfloat16(low) | static_cast<unsigned>(kernels::to_bfloat16(high)) << 16;
}

// a: 16 x 16, b: 16 x 8, c: 16 x 8, in rows.
__global__ void multiply(const float* a, const float* b, float* c) {
  const unsigned row = threadIdx.x >> 2, pair = threadIdx.x % 4 * 2;
  unsigned af[4], bf[2];
  float cf[4];
  for (unsigned i = 0; i < 4; ++i) {
    // PTX ISA, m16n8k16, .bf16: row = groupID for a0, a1, a4, a5, groupID + 8 else; column + 8 for a4 to a7.
    const unsigned r = row + (i % 2 == 1 ? 8 : 0), k = pair + (i >= 2 ? 8 : 0);
    af[i] = pair_of(a[r * 16 + k], a[r * 16 + k + 1]);
    cf[i] = c[(row + (i >= 2 ? 8 : 0)) * 8 + pair + i % 2];
  }
  for (unsigned i = 0; i < 2; ++i) bf[i] = pair_of(b[(pair + 8 * i) * 8 + row], b[(pair + 8 * i + 1) * 8 + row]);
  mma_16x8x16(cf, af, bf[0], bf[1]);
  for (unsigned i = 0; i < 4; ++i) c[(row + (i >= 2 ? 8 : 0)) * 8 + pair + i % 2] = cf[i];
}

TEST_F(MmaEmulation, IsAProduct) {
  const auto a = random_values16(256, "a"), b = random_values16(128, "b"), c = random_values(128, "c");
  Array<float> da(a), db(b), dc(c);
  EXPECT_OK(launch("multiply", multiply, {1, 32}, stream(), da.data(), db.data(), dc.data()));
  expect_done();
  std::vector<float> expected(128);
  for (size_t i = 0; i < 16; ++i) {
    for (size_t j = 0; j < 8; ++j) {
      double sum = static_cast<double>(c[i * 8 + j]);
      for (size_t k = 0; k < 16; ++k) sum += static_cast<double>(a[i * 16 + k]) * static_cast<double>(b[k * 8 + j]);
      expected[i * 8 + j] = static_cast<float>(sum);
    }
  }
  expect_close(dc.values(), expected, 17 * 17 * kRounding);  // 17 additions of at most 17
}

// 32 rows of 8 elements: element e of row r is 8 r + e. Both halves of each register, 8 a lane.
__global__ void load(bool transposed, unsigned* out) {
  Bfloat16* shared = dynamic_shared<Bfloat16>();
  for (unsigned e = 0; e < 8; ++e) shared[threadIdx.x * 8 + e] = static_cast<Bfloat16>(threadIdx.x * 8 + e);
  __syncwarp();
  unsigned m[4];
  if (transposed) {
    load_matrices_transposed(m, shared + threadIdx.x * 8);
  } else {
    load_matrices(m, shared + threadIdx.x * 8);
  }
  for (unsigned i = 0; i < 4; ++i) {
    out[threadIdx.x * 8 + 2 * i] = m[i] & 0xFFFF;
    out[threadIdx.x * 8 + 2 * i + 1] = m[i] >> 16;
  }
}

TEST_F(MmaEmulation, LoadsMatricesAndTheirTransposes) {
  for (bool transposed : {false, true}) {
    Array<unsigned> out(size_t{256});
    EXPECT_OK(launch("load", load, {1, 32, 512}, stream(), transposed, out.data()));
    expect_done();
    const auto values = out.values();
    for (unsigned lane = 0; lane < 32; ++lane) {
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned matrix = i / 2, row = lane / 4, column = lane % 4 * 2 + i % 2;
        const unsigned expected = matrix * 64 + (transposed ? column * 8 + row : row * 8 + column);
        EXPECT_EQ(values[lane * 8 + i], expected) << lane << ", " << i;
      }
    }
  }
}

__global__ void copy(const float* from, unsigned valid, float* out) {
  float* shared = dynamic_shared<float>();
  copy16_async(shared + threadIdx.x * 4, from + threadIdx.x * 4, threadIdx.x < valid);
  commit_copies();
  wait_for_copies<0>();
  for (unsigned i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = shared[threadIdx.x * 4 + i];
}

TEST_F(MmaEmulation, ACopyThatIsNotValidIsZero) {
  const auto from = random_values(128, "from");
  Array<float> on_device(from), out(size_t{128});
  EXPECT_OK(launch("copy", copy, {1, 32, 512}, stream(), on_device.data(), 5U, out.data()));
  expect_done();
  auto expected = from;
  std::fill(expected.begin() + 20, expected.end(), 0.0F);
  EXPECT_EQ(out.values(), expected);
}

}  // namespace
}  // namespace freshet::cuda
