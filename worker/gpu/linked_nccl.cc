#include "worker/gpu/linked_nccl.h"

#include <nccl.h>

#include <cstring>

namespace freshet::worker {
namespace {

static_assert(static_cast<int>(NcclResult::kSuccess) == ncclSuccess);
static_assert(static_cast<int>(NcclResult::kUnhandledCudaError) == ncclUnhandledCudaError);
static_assert(static_cast<int>(NcclResult::kSystemError) == ncclSystemError);
static_assert(static_cast<int>(NcclResult::kInternalError) == ncclInternalError);
static_assert(static_cast<int>(NcclResult::kInvalidArgument) == ncclInvalidArgument);
static_assert(static_cast<int>(NcclResult::kInvalidUsage) == ncclInvalidUsage);
static_assert(static_cast<int>(NcclResult::kRemoteError) == ncclRemoteError);
static_assert(static_cast<int>(NcclResult::kInProgress) == ncclInProgress);
static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));

NcclResult ours(ncclResult_t result) { return static_cast<NcclResult>(result); }
ncclComm_t theirs(NcclComm* comm) { return reinterpret_cast<ncclComm_t>(comm); }

class LinkedNccl final : public NcclLibrary {
 public:
  NcclResult get_unique_id(NcclId* id) override {
    ncclUniqueId made;
    const ncclResult_t result = ncclGetUniqueId(&made);
    if (result == ncclSuccess) std::memcpy(id->data(), &made, sizeof(made));
    return ours(result);
  }

  NcclResult comm_init_rank(NcclComm** comm, int ranks, const NcclId& id, int rank) override {
    ncclUniqueId given;
    std::memcpy(&given, id.data(), sizeof(given));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t made = nullptr;
    const ncclResult_t result = ncclCommInitRankConfig(&made, ranks, given, rank, &config);
    *comm = reinterpret_cast<NcclComm*>(made);
    return ours(result);
  }

  NcclResult comm_get_async_error(NcclComm* comm, NcclResult* error) override {
    ncclResult_t found = ncclSuccess;
    const ncclResult_t result = ncclCommGetAsyncError(theirs(comm), &found);
    *error = ours(found);
    return ours(result);
  }
  NcclResult comm_finalize(NcclComm* comm) override { return ours(ncclCommFinalize(theirs(comm))); }
  NcclResult comm_destroy(NcclComm* comm) override { return ours(ncclCommDestroy(theirs(comm))); }
  NcclResult comm_abort(NcclComm* comm) override { return ours(ncclCommAbort(theirs(comm))); }

  NcclResult group_start() override { return ours(ncclGroupStart()); }
  NcclResult group_end() override { return ours(ncclGroupEnd()); }
  NcclResult send(const std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) override {
    return ours(ncclSend(data, bytes, ncclUint8, peer, theirs(comm), stream));
  }
  NcclResult recv(std::byte* data, size_t bytes, int peer, NcclComm* comm, cuda::CudaStream stream) override {
    return ours(ncclRecv(data, bytes, ncclUint8, peer, theirs(comm), stream));
  }

  std::string error_text(NcclResult result, NcclComm* comm) override {
    std::string text = ncclGetErrorString(static_cast<ncclResult_t>(result));
    if (const char* last = ncclGetLastError(theirs(comm)); last && *last) text += std::string(": ") + last;
    return text;
  }
};

}  // namespace

NcclLibrary* linked_nccl() {
  static LinkedNccl library;
  return &library;
}

}  // namespace freshet::worker
