// The matrix instructions of sm_80 on (PTX ISA, "Warp-level matrix instructions") and asynchronous copies into shared
// memory. Whole warps call the first ones, all lanes together. Fragments, for lane l with g = l / 4 and t = l % 4; a
// register holds two neighbours, the first in its lower half:
//   a (16 rows, 16 inner): a[0] row g, inner 2t and 2t+1; a[1] row g+8; a[2] row g, inner 2t+8 and 2t+9; a[3] row g+8
//   b (16 inner, 8 columns): b0 inner 2t and 2t+1, column g; b1 inner 2t+8 and 2t+9
//   c (16 rows, 8 columns): c[0], c[1] row g, columns 2t and 2t+1; c[2], c[3] row g+8
#pragma once

#include "kernels/cuda/bfloat16.cuh"
#include "kernels/cuda/launch.cuh"

namespace freshet::cuda {

#if defined(__CUDACC__)

// c += a b.
__device__ __forceinline__ void mma_16x8x16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 rows of 16 bytes in shared memory. Lane l names row l % 8 of matrix l / 8, and gets from matrix i
// into m[i] the elements 2t and 2t+1 of row g.
__device__ __forceinline__ void load_matrices(unsigned (&m)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

// The same, but m[i] gets the elements g of rows 2t and 2t+1.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&m)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

// 16 bytes, past the L1 cache; zeros when not `valid`, and then nothing is read. Arrives when its group is waited for.
__device__ __forceinline__ void copy16_async(void* shared, const void* from, bool valid) {
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))),
      "l"(from), "r"(valid ? 16 : 0)
      : "memory");
}

// Ends the calling thread's group of copies.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Until all but the last `GroupsLeft` groups of the calling thread have arrived. Others see them behind a barrier.
template <int GroupsLeft>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(GroupsLeft) : "memory");
}

#else

inline void mma_16x8x16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  struct Given {
    unsigned a[4], b[2];
  };
  const Given* given = emulated::collect(Given{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const unsigned lane = emulated::thread_number() % 32, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    // Row g or g+8, column 2t or 2t+1; inner pairs 2j and 2j+1 lie with the lanes j of a row's and a column's quad.
    const unsigned column = 2 * t + i % 2;
    for (unsigned half = 0; half < 2; ++half) {
      for (unsigned j = 0; j < 4; ++j) {
        const unsigned x = given[4 * g + j].a[2 * half + i / 2], y = given[4 * column + j].b[half];
        c[i] += widen_low(x) * widen_low(y);
        c[i] += widen_high(x) * widen_high(y);
      }
    }
  }
}

namespace emulated {
struct MatrixRow {
  Bfloat16 elements[8];
};
inline const MatrixRow* collect_matrix_rows(const void* row) {
  CHECK_MSG(reinterpret_cast<uintptr_t>(row) % 16 == 0, "a matrix row that is not on a border of 16 bytes");
  MatrixRow own;
  std::memcpy(&own, row, sizeof(own));
  return collect(own);
}
}  // namespace emulated

inline void load_matrices(unsigned (&m)[4], const void* row) {
  const emulated::MatrixRow* rows = emulated::collect_matrix_rows(row);
  const unsigned lane = emulated::thread_number() % 32, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const Bfloat16* elements = rows[8 * i + g].elements;
    m[i] = elements[2 * t] | static_cast<unsigned>(elements[2 * t + 1]) << 16;
  }
}

inline void load_matrices_transposed(unsigned (&m)[4], const void* row) {
  const emulated::MatrixRow* rows = emulated::collect_matrix_rows(row);
  const unsigned lane = emulated::thread_number() % 32, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    m[i] = rows[8 * i + 2 * t].elements[g] | static_cast<unsigned>(rows[8 * i + 2 * t + 1].elements[g]) << 16;
  }
}

inline void copy16_async(void* shared, const void* from, bool valid) {
  CHECK_MSG(reinterpret_cast<uintptr_t>(shared) % 16 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0,
            "a copy that is not on a border of 16 bytes");
  emulated::copy_async(shared, from, valid ? 16 : 0, valid ? 0 : 16);
}

inline void commit_copies() { emulated::commit_copies(); }

template <int GroupsLeft>
void wait_for_copies() {
  emulated::wait_for_copies(GroupsLeft);
}

#endif

}  // namespace freshet::cuda
