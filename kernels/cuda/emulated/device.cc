// The device interface without a device: memory of the host, and streams whose work is done as late as it may be.
#include "kernels/cuda/device.h"

#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/cuda/emulated/guarded_memory.h"
#include "kernels/cuda/emulated/streams.h"

struct CUstream_st {
  std::deque<freshet::cuda::emulated::Work> work;
  uint64_t queued = 0, done = 0;                                    // pieces of work, ever
  std::vector<freshet::cuda::emulated::Work>* recording = nullptr;  // a graph in the making
  freshet::Status error;                                            // of the first piece that failed

  freshet::Status run_until(uint64_t place) {
    while (done < place) {
      auto next = std::move(work.front());
      work.pop_front();
      ++done;
      if (error.is_ok()) error = next();
    }
    return error;
  }
};

namespace freshet::cuda {
namespace {

// One device, on which one thing happens at a time.
std::recursive_mutex device_mutex;

CUstream_st& default_stream() {
  static CUstream_st stream;
  return stream;
}

std::set<CUstream_st*>& all_streams() {
  static std::set<CUstream_st*> streams{&default_stream()};
  return streams;
}

// A stream does all its work before it is destroyed.
bool is_alive(CUstream_st* stream) { return stream != nullptr && all_streams().contains(stream); }

CUstream_st* stream_or_default(CudaStream stream) { return stream ? stream : &default_stream(); }

// As freeing memory does on a device.
void run_everything() {
  std::lock_guard lock(device_mutex);
  for (CUstream_st* stream : all_streams()) (void)stream->run_until(stream->queued);
}

std::map<void*, emulated::GuardedMemory>& allocations() {
  static std::map<void*, emulated::GuardedMemory> made;
  return made;
}

void* allocate_guarded(size_t bytes) {
  std::lock_guard lock(device_mutex);
  emulated::GuardedMemory memory(bytes, 16);
  void* data = memory.data();
  allocations().emplace(data, std::move(memory));
  return data;
}

void free_guarded(void* data) {
  if (data == nullptr) return;
  std::lock_guard lock(device_mutex);
  run_everything();
  allocations().erase(data);
}

}  // namespace

namespace emulated {

Status queue_work(CudaStream stream, Work work) {
  std::lock_guard lock(device_mutex);
  CUstream_st* on = stream_or_default(stream);
  if (on->recording) {
    on->recording->push_back(std::move(work));
    return Status::ok();
  }
  on->work.push_back(std::move(work));
  ++on->queued;
  return Status::ok();
}

}  // namespace emulated

int device_count() { return 1; }
Status use_device(int index) {
  return index == 0 ? Status::ok() : unavailable("there is no device " + std::to_string(index));
}

Result<DeviceProperties> device_properties() {
  DeviceProperties properties;
  properties.name = "emulated";
  properties.major = 9;
  properties.multiprocessors = 4;
  properties.shared_bytes_max = 227 * 1024;
  properties.l2_bytes = 1 << 20;
  properties.memory_bytes = size_t{8} << 30;
  properties.is_emulated = true;
  return properties;
}

bool has_wgmma() { return true; }

Result<size_t> free_device_bytes() { return size_t{8} << 30; }

Result<DeviceMemory> DeviceMemory::allocate(size_t bytes) {
  DeviceMemory memory;
  if (bytes == 0) return memory;
  memory.data_ = allocate_guarded(bytes);
  memory.bytes_ = bytes;
  return memory;
}
DeviceMemory::~DeviceMemory() { free_guarded(data_); }

Result<PinnedMemory> PinnedMemory::allocate(size_t bytes) {
  PinnedMemory memory;
  if (bytes == 0) return memory;
  memory.data_ = allocate_guarded(bytes);
  memory.bytes_ = bytes;
  return memory;
}
PinnedMemory::~PinnedMemory() { free_guarded(data_); }

struct Event::Parts {
  CUstream_st* stream = nullptr;
  uint64_t place = 0;
  std::vector<emulated::Work>* recording = nullptr;  // the graph in which it was recorded
  bool timed = false;
  std::shared_ptr<std::chrono::steady_clock::time_point> passed;
};

Event::Event(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
Event::~Event() = default;

Result<Event> Event::create(bool timed) {
  auto parts = std::make_unique<Parts>();
  parts->timed = timed;
  return Event(std::move(parts));
}

Status Event::record(CudaStream stream) {
  std::lock_guard lock(device_mutex);
  CUstream_st* on = stream_or_default(stream);
  parts_->recording = on->recording;
  if (on->recording) return Status::ok();
  auto passed = std::make_shared<std::chrono::steady_clock::time_point>();
  parts_->passed = passed;
  RETURN_IF_ERROR(emulated::queue_work(on, [passed] {
    *passed = std::chrono::steady_clock::now();
    return Status::ok();
  }));
  parts_->stream = on;
  parts_->place = on->queued;
  return Status::ok();
}

Result<bool> Event::is_done() const {
  std::lock_guard lock(device_mutex);
  return !is_alive(parts_->stream) || parts_->stream->done >= parts_->place;
}

Status Event::synchronize() const {
  std::lock_guard lock(device_mutex);
  return is_alive(parts_->stream) ? parts_->stream->run_until(parts_->place) : Status::ok();
}

Result<float> Event::milliseconds_since(const Event& earlier) const {
  if (!parts_->timed || !earlier.parts_->timed) return internal("milliseconds_since: an event is not timed");
  if (!parts_->passed || !earlier.parts_->passed) return internal("milliseconds_since: an event was not recorded");
  return std::chrono::duration<float, std::milli>(*parts_->passed - *earlier.parts_->passed).count();
}

struct Stream::Parts {
  CUstream_st stream;
  Parts() {
    std::lock_guard lock(device_mutex);
    all_streams().insert(&stream);
  }
  ~Parts() {
    std::lock_guard lock(device_mutex);
    (void)stream.run_until(stream.queued);
    all_streams().erase(&stream);
  }
};

Stream::Stream(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

Result<Stream> Stream::create(bool) { return Stream(std::make_unique<Parts>()); }
CudaStream Stream::get() const { return &parts_->stream; }

Status Stream::synchronize() const {
  std::lock_guard lock(device_mutex);
  if (parts_->stream.recording) return internal("a stream that is recorded cannot be waited for");
  return parts_->stream.run_until(parts_->stream.queued);
}

Status Stream::wait(const Event& event) {
  std::lock_guard lock(device_mutex);
  if (event.parts_->recording) {
    // What is queued on this stream joins the graph, whose order is that of queueing.
    parts_->stream.recording = event.parts_->recording;
    return Status::ok();
  }
  if (!is_alive(event.parts_->stream) || event.parts_->stream == &parts_->stream) return Status::ok();
  return emulated::queue_work(&parts_->stream, [from = event.parts_->stream, place = event.parts_->place] {
    return is_alive(from) ? from->run_until(place) : Status::ok();
  });
}

namespace {

Status queue_copy(void* to, const void* from, size_t bytes, CudaStream stream) {
  if (bytes == 0) return Status::ok();
  return emulated::queue_work(stream, [=] {
    std::memmove(to, from, bytes);
    return Status::ok();
  });
}

}  // namespace

Status copy_to_device(void* to, const void* from, size_t bytes, CudaStream stream) {
  return queue_copy(to, from, bytes, stream);
}
Status copy_to_host(void* to, const void* from, size_t bytes, CudaStream stream) {
  return queue_copy(to, from, bytes, stream);
}
Status copy_on_device(void* to, const void* from, size_t bytes, CudaStream stream) {
  return queue_copy(to, from, bytes, stream);
}

Status fill_bytes(void* to, uint8_t value, size_t bytes, CudaStream stream) {
  if (bytes == 0) return Status::ok();
  return emulated::queue_work(stream, [=] {
    std::memset(to, value, bytes);
    return Status::ok();
  });
}

struct Graph::Parts {
  std::vector<emulated::Work> work;
};

Graph::Graph(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

Result<Graph> Graph::capture(const Stream& stream, const std::function<Status()>& queue) {
  std::lock_guard lock(device_mutex);
  auto parts = std::make_unique<Parts>();
  stream.get()->recording = &parts->work;
  Status queued = queue();
  for (CUstream_st* one : all_streams()) {
    if (one->recording == &parts->work) one->recording = nullptr;
  }
  RETURN_IF_ERROR(queued);
  return Graph(std::move(parts));
}

Status Graph::launch(CudaStream stream) const {
  for (const auto& work : parts_->work) RETURN_IF_ERROR(emulated::queue_work(stream, work));
  return Status::ok();
}

size_t Graph::nodes() const { return parts_->work.size(); }

}  // namespace freshet::cuda
