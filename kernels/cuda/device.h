// What the engine needs of a GPU: memory, streams, events and graphs. Two implementations, one of which is linked:
// device.cc over the CUDA runtime (preset `cuda`), and emulated/device.cc, which runs the same kernels on the CPU for
// the tests of a machine without a GPU. Objects belong to the device that was current when they were made, are moved
// and never copied, and are used on one thread at a time; the device itself serves any number of threads. An error of
// an earlier kernel may surface in any call: it means that the context is lost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "kernels/cuda/stream.h"

namespace freshet::cuda {

struct DeviceProperties {
  std::string name;  // "NVIDIA H200"; "emulated"
  int major = 0;     // of the compute capability
  int minor = 0;
  int multiprocessors = 0;
  size_t shared_bytes_max = 0;  // of a block
  size_t l2_bytes = 0;
  size_t memory_bytes = 0;
  bool is_emulated = false;
};

// 0 where there is no device or no driver.
int device_count();
// Makes it current for the calling thread. unavailable when it cannot be used.
Status use_device(int index);
// Of the current device.
Result<DeviceProperties> device_properties();
// Whether the current device runs the kernels of wgmma.cuh: compute capability 9.0. Costs next to nothing.
bool has_wgmma();
// Bytes that are not taken, of the current device.
Result<size_t> free_device_bytes();

// Device memory, not initialised, on a border of 16 bytes at least.
class DeviceMemory {
 public:
  // resource_exhausted when it does not fit: says how much was asked for and how much is free.
  static Result<DeviceMemory> allocate(size_t bytes);
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceMemory();

  size_t bytes() const { return bytes_; }
  template <class T = std::byte>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(DeviceMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Pinned host memory, which copies to and from a device read and write beside the host. Not initialised.
class PinnedMemory {
 public:
  // resource_exhausted when the host has not so much that can be pinned.
  static Result<PinnedMemory> allocate(size_t bytes);
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept { swap(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~PinnedMemory();

  size_t bytes() const { return bytes_; }
  template <class T = std::byte>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(PinnedMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// A place in a stream's work. Move only.
class Event {
 public:
  // `timed`: for milliseconds_since(); costs a little.
  static Result<Event> create(bool timed = false);
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  // Behind what is queued on `stream` now.
  Status record(CudaStream stream);
  // Whether what is in front of it is done; true when it was never recorded.
  Result<bool> is_done() const;
  // Returns when what is in front of it is done.
  Status synchronize() const;
  // Both are timed and done.
  Result<float> milliseconds_since(const Event& earlier) const;

 private:
  friend class Stream;
  struct Parts;
  explicit Event(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// An order of work. Move only; waits for its work when it is destroyed.
class Stream {
 public:
  // `high_priority`: its kernels go first when others are waiting for the device.
  static Result<Stream> create(bool high_priority = false);
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  CudaStream get() const;
  // Returns when all that was queued is done. The only call here, with Event's, that waits.
  Status synchronize() const;
  // What is queued from now on begins when the event's place is done.
  Status wait(const Event& event);

 private:
  struct Parts;
  explicit Stream(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Queued on the stream. The host's side should be pinned: else the call may wait. The host's memory is read or written
// when the stream comes to it, so it must stay, and stay as it is, until then. Nothing is queued for no bytes.
Status copy_to_device(void* to, const void* from, size_t bytes, CudaStream stream);
Status copy_to_host(void* to, const void* from, size_t bytes, CudaStream stream);
Status copy_on_device(void* to, const void* from, size_t bytes, CudaStream stream);
// All bytes become `value`.
Status fill_bytes(void* to, uint8_t value, size_t bytes, CudaStream stream);

// Work that was recorded once and is queued as a whole, which costs the host microseconds. It holds the addresses and
// arguments of the recording; what changes from one launch to the next lies in memory that it reads.
class Graph {
 public:
  // Records what `queue` puts on `stream`, and on streams that wait for an event of it and which it waits for in the
  // end. Nothing of it runs. `queue` neither synchronises nor allocates.
  static Result<Graph> capture(const Stream& stream, const std::function<Status()>& queue);
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  ~Graph();

  Status launch(CudaStream stream) const;
  // Kernels and copies in it.
  size_t nodes() const;

 private:
  struct Parts;
  explicit Graph(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace freshet::cuda
