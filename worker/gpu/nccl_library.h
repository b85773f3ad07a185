// The calls of NCCL that the engine makes, in types of our own: linked_nccl.h has them of the real library, a test's
// recording fake stands in for it where there is none. Communicators are non-blocking: while a call on one returns
// kInProgress no other call may be made on it but get_async_error(). Calls mean what NCCL's of the same names mean
// (docs.nvidia.com, NCCL user guide), which is thread-safe, with one communicator on one thread.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "base/status.h"
#include "kernels/cuda/device.h"

namespace freshet::worker {

// A communicator of NCCL; only its library knows what it is.
struct NcclComm;

// ncclResult_t.
enum class NcclResult {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

// What ranks find each other by.
using NcclId = std::array<std::byte, 128>;

class NcclLibrary {
 public:
  virtual ~NcclLibrary() = default;

  virtual NcclResult get_unique_id(NcclId* id) = 0;
  // On the current device, non-blocking; *comm is there when it returns.
  virtual NcclResult comm_init_rank(NcclComm** comm, int ranks, const NcclId& id, int rank) = 0;
  virtual NcclResult comm_get_async_error(NcclComm* comm, NcclResult* error) = 0;
  virtual NcclResult comm_finalize(NcclComm* comm) = 0;
  virtual NcclResult comm_destroy(NcclComm* comm) = 0;
  virtual NcclResult comm_abort(NcclComm* comm) = 0;

  virtual NcclResult group_start() = 0;
  virtual NcclResult group_end() = 0;
  virtual NcclResult send(const std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) = 0;
  virtual NcclResult recv(std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) = 0;

  // What went wrong, in the library's words; `comm` may be null.
  virtual std::string error_text(NcclResult result, NcclComm* comm) = 0;

  // Event::is_done. Here, because an emulated device does nothing until it is waited for.
  virtual Result<bool> is_done(const cuda::Event& event) { return event.is_done(); }
};

}  // namespace freshet::worker
