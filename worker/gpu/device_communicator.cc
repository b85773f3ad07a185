#include "worker/gpu/device_communicator.h"

#include "base/check.h"

namespace freshet::worker {

Status DeviceCommunicator::all_gather(const std::string& operation, Bytes part, const std::vector<MutableBytes>& all,
                                      cuda::Stream* stream) {
  const auto ranks = static_cast<size_t>(size()), me = static_cast<size_t>(rank());
  CHECK(all.size() == ranks && all[me].size() == part.size());
  if (all[me].data() != part.data()) {
    RETURN_IF_ERROR(cuda::copy_on_device(all[me].data(), part.data(), part.size(), stream->get()));
  }
  if (ranks == 1) return Status::ok();
  return exchange(operation, std::vector<Bytes>(ranks, part), all, stream);
}

}  // namespace freshet::worker
