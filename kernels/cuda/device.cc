#include "kernels/cuda/device.h"

#include <cuda_runtime.h>

#include "kernels/cuda/checked.h"

namespace freshet::cuda {

int device_count() {
  int count = 0;
  return checked(cudaGetDeviceCount(&count), "cudaGetDeviceCount").is_ok() ? count : 0;
}

Status use_device(int index) {
  const Status used = checked(cudaSetDevice(index), "cudaSetDevice");
  return used.is_ok() ? used : unavailable(used.message());
}

Result<DeviceProperties> device_properties() {
  int device = 0;
  cudaDeviceProp found{};
  RETURN_IF_ERROR(checked(cudaGetDevice(&device), "cudaGetDevice"));
  RETURN_IF_ERROR(checked(cudaGetDeviceProperties(&found, device), "cudaGetDeviceProperties"));
  DeviceProperties properties;
  properties.name = found.name;
  properties.major = found.major;
  properties.minor = found.minor;
  properties.multiprocessors = found.multiProcessorCount;
  properties.shared_bytes_max = found.sharedMemPerBlockOptin;
  properties.l2_bytes = static_cast<size_t>(found.l2CacheSize);
  properties.memory_bytes = found.totalGlobalMem;
  return properties;
}

bool has_wgmma() {
  int device = 0, major = 0, minor = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess && major == 9 &&
         minor == 0;
}

Result<size_t> free_device_bytes() {
  size_t free = 0, total = 0;
  RETURN_IF_ERROR(checked(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"));
  return free;
}

Result<DeviceMemory> DeviceMemory::allocate(size_t bytes) {
  DeviceMemory memory;
  if (bytes == 0) return memory;
  if (cudaError_t error = cudaMalloc(&memory.data_, bytes); error != cudaSuccess) {
    if (error != cudaErrorMemoryAllocation) return checked(error, "cudaMalloc");
    cudaGetLastError();
    ASSIGN_OR_RETURN(size_t free, free_device_bytes());
    return resource_exhausted(
        "the GPU has " + std::to_string(free >> 20) + " MiB free and " + std::to_string(bytes >> 20) +
        " MiB are needed: lower the micro-batch's rows or, where parameters or tables are too large, use more GPUs");
  }
  memory.bytes_ = bytes;
  return memory;
}

DeviceMemory::~DeviceMemory() {
  if (data_) cudaFree(data_);
}

Result<PinnedMemory> PinnedMemory::allocate(size_t bytes) {
  PinnedMemory memory;
  if (bytes == 0) return memory;
  if (cudaError_t error = cudaMallocHost(&memory.data_, bytes); error != cudaSuccess) {
    if (error != cudaErrorMemoryAllocation) return checked(error, "cudaMallocHost");
    cudaGetLastError();
    return resource_exhausted("the host has no " + std::to_string(bytes >> 20) + " MiB that can be pinned");
  }
  memory.bytes_ = bytes;
  return memory;
}

PinnedMemory::~PinnedMemory() {
  if (data_) cudaFreeHost(data_);
}

struct Event::Parts {
  cudaEvent_t event = nullptr;
  ~Parts() {
    if (event) cudaEventDestroy(event);
  }
};

Event::Event(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
Event::~Event() = default;

Result<Event> Event::create(bool timed) {
  auto parts = std::make_unique<Parts>();
  RETURN_IF_ERROR(checked(cudaEventCreateWithFlags(&parts->event, timed ? cudaEventDefault : cudaEventDisableTiming),
                          "cudaEventCreateWithFlags"));
  return Event(std::move(parts));
}

Status Event::record(CudaStream stream) { return checked(cudaEventRecord(parts_->event, stream), "cudaEventRecord"); }

Result<bool> Event::is_done() const {
  cudaError_t found = cudaEventQuery(parts_->event);
  if (found == cudaErrorNotReady) {
    cudaGetLastError();  // else the next launch takes it for its own
    return false;
  }
  RETURN_IF_ERROR(checked(found, "cudaEventQuery"));
  return true;
}

Status Event::synchronize() const { return checked(cudaEventSynchronize(parts_->event), "cudaEventSynchronize"); }

Result<float> Event::milliseconds_since(const Event& earlier) const {
  float milliseconds = 0;
  RETURN_IF_ERROR(
      checked(cudaEventElapsedTime(&milliseconds, earlier.parts_->event, parts_->event), "cudaEventElapsedTime"));
  return milliseconds;
}

struct Stream::Parts {
  cudaStream_t stream = nullptr;
  ~Parts() {
    if (!stream) return;
    cudaStreamSynchronize(stream);
    cudaStreamDestroy(stream);
  }
};

Stream::Stream(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

Result<Stream> Stream::create(bool high_priority) {
  auto parts = std::make_unique<Parts>();
  int low = 0, high = 0;
  RETURN_IF_ERROR(checked(cudaDeviceGetStreamPriorityRange(&low, &high), "cudaDeviceGetStreamPriorityRange"));
  RETURN_IF_ERROR(
      checked(cudaStreamCreateWithPriority(&parts->stream, cudaStreamNonBlocking, high_priority ? high : low),
              "cudaStreamCreateWithPriority"));
  return Stream(std::move(parts));
}

CudaStream Stream::get() const { return parts_->stream; }
Status Stream::synchronize() const { return checked(cudaStreamSynchronize(parts_->stream), "cudaStreamSynchronize"); }
Status Stream::wait(const Event& event) {
  return checked(cudaStreamWaitEvent(parts_->stream, event.parts_->event, 0), "cudaStreamWaitEvent");
}

Status copy_to_device(void* to, const void* from, size_t bytes, CudaStream stream) {
  if (bytes == 0) return Status::ok();
  return checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync to the device");
}

Status copy_to_host(void* to, const void* from, size_t bytes, CudaStream stream) {
  if (bytes == 0) return Status::ok();
  return checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync to the host");
}

Status copy_on_device(void* to, const void* from, size_t bytes, CudaStream stream) {
  if (bytes == 0) return Status::ok();
  return checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "cudaMemcpyAsync on the device");
}

Status fill_bytes(void* to, uint8_t value, size_t bytes, CudaStream stream) {
  if (bytes == 0) return Status::ok();
  return checked(cudaMemsetAsync(to, value, bytes, stream), "cudaMemsetAsync");
}

struct Graph::Parts {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  size_t nodes = 0;
  ~Parts() {
    if (executable) cudaGraphExecDestroy(executable);
    if (graph) cudaGraphDestroy(graph);
  }
};

Graph::Graph(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

Result<Graph> Graph::capture(const Stream& stream, const std::function<Status()>& queue) {
  auto parts = std::make_unique<Parts>();
  RETURN_IF_ERROR(
      checked(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture"));
  Status queued = queue();
  // The capture ends in any case, so that the stream can be used again.
  Status ended = checked(cudaStreamEndCapture(stream.get(), &parts->graph), "cudaStreamEndCapture");
  RETURN_IF_ERROR(queued);
  RETURN_IF_ERROR(ended);
  RETURN_IF_ERROR(checked(cudaGraphGetNodes(parts->graph, nullptr, &parts->nodes), "cudaGraphGetNodes"));
  RETURN_IF_ERROR(checked(cudaGraphInstantiate(&parts->executable, parts->graph, 0), "cudaGraphInstantiate"));
  return Graph(std::move(parts));
}

Status Graph::launch(CudaStream stream) const {
  return checked(cudaGraphLaunch(parts_->executable, stream), "cudaGraphLaunch");
}

size_t Graph::nodes() const { return parts_->nodes; }

}  // namespace freshet::cuda
