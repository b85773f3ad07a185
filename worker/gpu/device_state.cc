#include "worker/gpu/device_state.h"

#include "base/check.h"

namespace freshet::worker {
namespace {

constexpr size_t kBorder = 64;  // floats: 256 bytes

}  // namespace

DeviceState::DeviceState(Range segment, size_t stride, cuda::DeviceMemory weights, cuda::DeviceMemory own)
    : segment_(segment), stride_(stride), weights_(std::move(weights)), own_(std::move(own)) {}

Result<DeviceState> DeviceState::create(size_t parameters, Range segment) {
  const size_t stride = (segment.size() + kBorder - 1) / kBorder * kBorder;
  ASSIGN_OR_RETURN(auto weights, cuda::DeviceMemory::allocate(parameters * sizeof(kernels::Bfloat16)));
  ASSIGN_OR_RETURN(auto own, cuda::DeviceMemory::allocate(3 * stride * sizeof(float)));
  return DeviceState(segment, stride, std::move(weights), std::move(own));
}

Status DeviceState::set(std::span<const float> parameters, std::span<const float> m, std::span<const float> v,
                        cuda::Stream* stream) {
  CHECK(parameters.size() * sizeof(kernels::Bfloat16) == weights_.bytes());
  RETURN_IF_ERROR(wait_for_snapshot(stream));
  std::vector<kernels::Bfloat16> rounded(parameters.size());
  kernels::to_bfloat16(1, rounded.size(), rounded.size(), parameters.data(), rounded.data());
  RETURN_IF_ERROR(cuda::copy_to_device(weights(), rounded.data(), weights_.bytes(), stream->get()));
  for (auto [to, from] : {std::pair{w(), parameters.subspan(segment_.begin, segment_.size())}, std::pair{this->m(), m},
                          std::pair{this->v(), v}}) {
    CHECK(from.empty() || from.size() == segment_.size());
    RETURN_IF_ERROR(from.empty() ? cuda::fill_bytes(to, 0, segment_.size() * sizeof(float), stream->get())
                                 : cuda::copy_to_device(to, from.data(), from.size_bytes(), stream->get()));
  }
  return stream->synchronize();
}

Status DeviceState::make_copies() {
  if (copies_) return Status::ok();
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  ASSIGN_OR_RETURN(auto memory, cuda::PinnedMemory::allocate(3 * stride_ * sizeof(float)));
  ASSIGN_OR_RETURN(auto made, cuda::Event::create());
  ASSIGN_OR_RETURN(auto copied, cuda::Event::create());
  ASSIGN_OR_RETURN(auto copied_host, cuda::Event::create());
  copies_.reset(
      new Copies{std::move(stream), std::move(memory), std::move(made), std::move(copied), std::move(copied_host)});
  return Status::ok();
}

Result<TrainingSnapshot> DeviceState::snapshot(const cuda::Stream& stream) {
  RETURN_IF_ERROR(make_copies());
  RETURN_IF_ERROR(copies_->made.record(stream.get()));
  RETURN_IF_ERROR(copies_->stream.wait(copies_->made));
  RETURN_IF_ERROR(
      cuda::copy_to_host(copies_->memory.data(), own_.data(), 3 * stride_ * sizeof(float), copies_->stream.get()));
  RETURN_IF_ERROR(copies_->copied.record(copies_->stream.get()));
  RETURN_IF_ERROR(copies_->copied_host.record(copies_->stream.get()));
  const float* at = copies_->memory.data<float>();
  return TrainingSnapshot{segment_,         at, at + stride_,
                          at + 2 * stride_, {}, [copied = &copies_->copied_host] {
                            return copied->synchronize(); }};
}

Status DeviceState::wait_for_snapshot(cuda::Stream* stream) {
  return copies_ ? stream->wait(copies_->copied) : Status::ok();
}

Result<std::vector<float>> DeviceState::read(const float* from, cuda::Stream* stream) const {
  std::vector<float> values(segment_.size());
  RETURN_IF_ERROR(cuda::copy_to_host(values.data(), from, values.size() * sizeof(float), stream->get()));
  RETURN_IF_ERROR(stream->synchronize());
  return values;
}

}  // namespace freshet::worker
