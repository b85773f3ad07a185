// oneDNN takes its number of threads from OpenMP's setting of the calling thread, which this makes 1. Call it before
// every product; only a thread's first call does anything.
#pragma once

#include <omp.h>

namespace freshet::kernels {

inline void keep_products_on_this_thread() {
  thread_local const bool alone = [] {
    omp_set_num_threads(1);
    return true;
  }();
  (void)alone;
}

}  // namespace freshet::kernels
