// A copy of device memory in the host's, made by a stream of its own beside the work that goes on: only what is about
// to change that memory waits for it. The host's memory is pinned, or ordinary where it would be too much: then begin()
// returns when the copy is made. One object per rank, used on the thread that trains, but for wait().
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/status.h"
#include "kernels/cuda/device.h"

namespace freshet::worker {

class HostCopy {
 public:
  // Half of the machine's memory.
  static size_t pinned_bytes_max();
  // resource_exhausted when there is no memory of either kind.
  static Result<std::unique_ptr<HostCopy>> create(size_t bytes, size_t pinned_bytes_max = HostCopy::pinned_bytes_max());

  bool is_pinned() const { return pinned_.bytes() > 0; }
  float* data() const { return is_pinned() ? pinned_.data<float>() : ordinary_.get(); }

  // Of what the work queued on `stream` makes of `from`, and behind it of `more`, device memory, too: together as long
  // as create() was told.
  Status begin(const cuda::DeviceMemory& from, std::span<const std::byte> more, const cuda::Stream& stream);
  // What is queued on `stream` from here on may change what is being copied.
  Status hold_back(cuda::Stream* stream) const { return stream->wait(copied_); }
  // Returns when the newest copy is whole. Any thread, one at a time.
  Status wait() const { return copied_host_.synchronize(); }

 private:
  HostCopy(cuda::Stream stream, cuda::Event made, cuda::Event copied, cuda::Event copied_host);

  cuda::PinnedMemory pinned_;
  std::unique_ptr<float[]> ordinary_;
  cuda::Event made_;         // what is to be copied
  cuda::Event copied_;       // for the stream
  cuda::Event copied_host_;  // for the thread that reads it
  cuda::Stream stream_;      // goes first: it waits for what uses the rest
};

}  // namespace freshet::worker
