// A CUDA stream as the operations take it: their work is queued on it and they return. It belongs to a Stream
// (device.h).
#pragma once

struct CUstream_st;

namespace freshet::cuda {

using CudaStream = CUstream_st*;

}  // namespace freshet::cuda
