#include "worker/gpu/host_copy.h"

#include <unistd.h>

#include <new>
#include <utility>

#include "base/check.h"

namespace freshet::worker {

size_t HostCopy::pinned_bytes_max() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) / 2 * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

HostCopy::HostCopy(cuda::Stream stream, cuda::Event made, cuda::Event copied, cuda::Event copied_host)
    : made_(std::move(made)),
      copied_(std::move(copied)),
      copied_host_(std::move(copied_host)),
      stream_(std::move(stream)) {}

Result<std::unique_ptr<HostCopy>> HostCopy::create(size_t bytes, size_t pinned_bytes_max) {
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto made, cuda::Event::create());
  ASSIGN_OR_RETURN(auto copied, cuda::Event::create());
  ASSIGN_OR_RETURN(auto copied_host, cuda::Event::create());
  std::unique_ptr<HostCopy> copy(
      new HostCopy(std::move(stream), std::move(made), std::move(copied), std::move(copied_host)));
  if (bytes <= pinned_bytes_max) {
    if (auto pinned = cuda::PinnedMemory::allocate(bytes); pinned.is_ok()) copy->pinned_ = *std::move(pinned);
  }
  if (copy->is_pinned() || bytes == 0) return copy;
  try {
    // Not set to zero first: its pages are new, and each is touched once.
    copy->ordinary_ = std::make_unique_for_overwrite<float[]>((bytes + sizeof(float) - 1) / sizeof(float));
  } catch (const std::bad_alloc&) {
    return resource_exhausted("there is no memory for a copy of " + std::to_string(bytes) + " bytes of the GPU");
  }
  return copy;
}

Status HostCopy::begin(const cuda::DeviceMemory& from, std::span<const std::byte> more, const cuda::Stream& stream) {
  RETURN_IF_ERROR(made_.record(stream.get()));
  RETURN_IF_ERROR(stream_.wait(made_));
  auto* const to = reinterpret_cast<std::byte*>(data());
  RETURN_IF_ERROR(cuda::copy_to_host(to, from.data(), from.bytes(), stream_.get()));
  RETURN_IF_ERROR(cuda::copy_to_host(to + from.bytes(), more.data(), more.size(), stream_.get()));
  RETURN_IF_ERROR(copied_.record(stream_.get()));
  return copied_host_.record(stream_.get());
}

}  // namespace freshet::worker
