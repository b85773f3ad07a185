#include "worker/gpu/device_state.h"

#include "base/check.h"

namespace freshet::worker {
namespace {

constexpr size_t kBorder = 64;  // floats: 256 bytes

}  // namespace

DeviceState::DeviceState(Range segment, size_t stride, std::span<std::byte> objective, cuda::DeviceMemory weights,
                         cuda::DeviceMemory own)
    : segment_(segment), stride_(stride), objective_(objective), weights_(std::move(weights)), own_(std::move(own)) {}

Result<DeviceState> DeviceState::create(size_t parameters, Range segment, std::span<std::byte> objective) {
  const size_t stride = (segment.size() + kBorder - 1) / kBorder * kBorder;
  ASSIGN_OR_RETURN(auto weights, cuda::DeviceMemory::allocate(parameters * sizeof(kernels::Bfloat16)));
  ASSIGN_OR_RETURN(auto own, cuda::DeviceMemory::allocate(3 * stride * sizeof(float)));
  return DeviceState(segment, stride, objective, std::move(weights), std::move(own));
}

Status DeviceState::set(std::span<const float> parameters, std::span<const float> m, std::span<const float> v,
                        std::span<const std::byte> objective, cuda::Stream* stream) {
  CHECK(parameters.size() * sizeof(kernels::Bfloat16) == weights_.bytes());
  if (!objective.empty() && objective.size() != objective_.size()) {
    return corrupt("what a training keeps beside its weights has " + std::to_string(objective.size()) + " bytes, not " +
                   std::to_string(objective_.size()));
  }
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
  RETURN_IF_ERROR(objective.empty()
                      ? cuda::fill_bytes(objective_.data(), 0, objective_.size(), stream->get())
                      : cuda::copy_to_device(objective_.data(), objective.data(), objective.size(), stream->get()));
  return stream->synchronize();
}

Result<TrainingSnapshot> DeviceState::snapshot(const cuda::Stream& stream) {
  if (!copy_) {
    ASSIGN_OR_RETURN(copy_, HostCopy::create(own_.bytes() + objective_.size()));
  }
  RETURN_IF_ERROR(copy_->begin(own_, objective_, stream));
  const float* at = copy_->data();
  TrainingSnapshot snapshot{segment_, at, at + stride_, at + 2 * stride_, {}, {}, {}};
  snapshot.objective = {reinterpret_cast<const std::byte*>(at + 3 * stride_), objective_.size()};
  snapshot.wait = [copy = copy_.get()] { return copy->wait(); };
  return snapshot;
}

Status DeviceState::wait_for_snapshot(cuda::Stream* stream) { return copy_ ? copy_->hold_back(stream) : Status::ok(); }

Result<std::vector<float>> DeviceState::read(const float* from, cuda::Stream* stream) const {
  std::vector<float> values(segment_.size());
  RETURN_IF_ERROR(cuda::copy_to_host(values.data(), from, values.size() * sizeof(float), stream->get()));
  RETURN_IF_ERROR(stream->synchronize());
  return values;
}

}  // namespace freshet::worker
