#include "worker/gpu/device_embeddings.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "worker/comm/reduce.h"

namespace freshet::worker {
namespace {

using kernels::Bfloat16;

// In front of the words of lookups: the number of their micro-batch, on a border for what follows.
constexpr size_t kSlotBytes = 16;

size_t eights(size_t width) { return (width + 7) / 8 * 8; }

// Device memory with these values.
template <class T>
Result<cuda::DeviceMemory> on_device(const std::vector<T>& values) {
  const size_t bytes = values.size() * sizeof(T);
  ASSIGN_OR_RETURN(auto memory, cuda::DeviceMemory::allocate(bytes));
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  RETURN_IF_ERROR(cuda::copy_to_device(memory.data(), values.data(), bytes, stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  return memory;
}

std::vector<size_t> all_features(const TabularModel& model) {
  std::vector<size_t> features(model.shape().categorical.size());
  std::iota(features.begin(), features.end(), 0);
  return features;
}

}  // namespace

DeviceEmbeddings::DeviceEmbeddings(const TabularModel& model, const DeviceEmbeddingsOptions& options,
                                   DeviceTables tables)
    : model_(&model), options_(options), strides_(1), tables_(std::move(tables)) {
  if (options.devices == nullptr) return;
  rank_ = static_cast<size_t>(options.devices->rank());
  strides_.resize(static_cast<size_t>(options.devices->size()));
}

// Without addresses.
DeviceEmbeddings::Layout DeviceEmbeddings::layout_of(const TabularModel& model, const DeviceEmbeddingsOptions& options,
                                                     std::vector<size_t> features) {
  Layout layout;
  cuda::EmbeddingShape& shape = layout.shape;
  shape.rows = options.rows;
  shape.slots = options.slots;
  shape.features = features.size();
  // The kernels are the same for any share of the tables.
  shape.by_fours = true;
  for (const auto& feature : model.shape().categorical) {
    shape.by_fours = shape.by_fours && feature.dim % 4 == 0;
    shape.dim_max = std::max<size_t>(shape.dim_max, feature.dim);
  }
  uint32_t column = 0, words = 0;
  for (size_t f : features) {
    const auto& feature = model.shape().categorical[f];
    cuda::EmbeddingFeature one;
    one.first_row = static_cast<uint32_t>(shape.table_rows);
    one.dim = feature.dim;
    one.column = column;
    one.codes = words;
    one.codes_max = static_cast<uint32_t>(feature.multi_valued ? options.bag_codes_max.at(f) : options.rows);
    words += one.codes_max;
    if (feature.multi_valued) {
      one.offsets = words;
      words += static_cast<uint32_t>(options.rows) + 1;
    }
    one.first_lookup = static_cast<uint32_t>(shape.lookups);
    shape.lookups += one.codes_max;
    shape.table_rows += feature.codes;
    column += feature.dim;
    layout.described.push_back(one);
  }
  layout.features = std::move(features);
  layout.words = words;
  layout.stride = eights(column);
  return layout;
}

Status DeviceEmbeddings::check(const TabularModel& model, size_t rows, size_t slots) {
  DeviceEmbeddingsOptions options;
  options.rows = rows;
  options.slots = slots;
  options.bag_codes_max.assign(model.shape().categorical.size(), 0);
  return cuda::check_embedding_bags(layout_of(model, options, all_features(model)).shape);
}

Result<DeviceEmbeddings> DeviceEmbeddings::create(const TabularModel& model, const DeviceEmbeddingsOptions& options) {
  const auto tensors = std::span(model.tensors()).first(model.shape().categorical.size());
  const DeviceCommunicator* devices = options.devices;
  ASSIGN_OR_RETURN(auto tables,
                   DeviceTables::create(tensors, devices ? devices->size() : 1, devices ? devices->rank() : 0));
  DeviceEmbeddings made(model, options, std::move(tables));
  RETURN_IF_ERROR(made.allocate());
  return made;
}

Status DeviceEmbeddings::allocate() {
  const auto features = all_features(*model_);
  std::vector<size_t> own;
  for (size_t f : features) {
    strides_[static_cast<size_t>(tables_.owner(f))] += model_->shape().categorical[f].dim;
    if (is_own(f)) own.push_back(f);
  }
  for (size_t& stride : strides_) stride = eights(stride);
  all_ = layout_of(*model_, options_, features);
  own_ = layout_of(*model_, options_, std::move(own));
  RETURN_IF_ERROR(describe(&all_, &all_described_));
  RETURN_IF_ERROR(describe(&own_, &own_described_));

  const size_t example_bytes = options_.rows * sizeof(Bfloat16);
  ASSIGN_OR_RETURN(pooled_, cuda::DeviceMemory::allocate(options_.slots * example_bytes * own_.stride));
  const size_t own_slots = slots_of(options_.slots, rank_).size();
  for (size_t peer = 0; peer < ranks(); ++peer) {
    const size_t bytes = peer == rank_ ? 0 : own_slots * example_bytes * strides_[peer];
    ASSIGN_OR_RETURN(auto memory, cuda::DeviceMemory::allocate(bytes));
    taken_.push_back(std::move(memory));
  }
  ASSIGN_OR_RETURN(lists_, cuda::DeviceMemory::allocate(2 * list_size() * sizeof(uint32_t)));
  if (!own_.features.empty()) {
    ASSIGN_OR_RETURN(const size_t scratch, cuda::embedding_bag_update_scratch(own_.shape));
    ASSIGN_OR_RETURN(scratch_, cuda::DeviceMemory::allocate(scratch));
  }
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  RETURN_IF_ERROR(cuda::fill_bytes(pooled_.data(), 0, pooled_.bytes(), stream.get()));
  RETURN_IF_ERROR(cuda::fill_bytes(lists_.data(), 0xFF, lists_.bytes(), stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  return describe_parts();
}

Status DeviceEmbeddings::describe(Layout* layout, cuda::DeviceMemory* described) {
  for (size_t i = 0; i < layout->features.size(); ++i) {
    layout->described[i].table = tables_.values(layout->features[i]);
    layout->described[i].sums = tables_.sums(layout->features[i]);
  }
  ASSIGN_OR_RETURN(*described, on_device(layout->described));
  return Status::ok();
}

// Where the features of this rank's examples lie.
Status DeviceEmbeddings::describe_parts() {
  const Range slots = slots_of(options_.slots, rank_);
  std::vector<cuda::EmbeddingPart> parts;
  std::vector<size_t> columns(ranks());  // that are given out, of each owner
  for (size_t f : all_.features) {
    const auto owner = static_cast<size_t>(tables_.owner(f));
    Bfloat16* first = owner == rank_ ? pooled_.data<Bfloat16>() + slots.begin * options_.rows * own_.stride
                                     : taken_[owner].data<Bfloat16>();
    parts.push_back({first + columns[owner], strides_[owner]});
    columns[owner] += model_->shape().categorical[f].dim;
  }
  ASSIGN_OR_RETURN(parts_, on_device(parts));
  return Status::ok();
}

Range DeviceEmbeddings::slots_of(size_t micro_batches, size_t rank) const {
  const Range share = share_of(options_.slots, static_cast<int>(ranks()), static_cast<int>(rank));
  return {std::min(share.begin, micro_batches), std::min(share.end, micro_batches)};
}

std::vector<MutableBytes> DeviceEmbeddings::given(size_t micro_batches) const {
  const size_t slot_bytes = options_.rows * own_.stride * sizeof(Bfloat16);
  std::vector<MutableBytes> parts;
  for (size_t peer = 0; peer < ranks(); ++peer) {
    const Range slots = slots_of(micro_batches, peer);
    parts.emplace_back(pooled_.data() + slots.begin * slot_bytes, slots.size() * slot_bytes);
  }
  return parts;
}

std::vector<MutableBytes> DeviceEmbeddings::taken(size_t micro_batches) const {
  const size_t slots = slots_of(micro_batches, rank_).size();
  std::vector<MutableBytes> parts;
  for (size_t peer = 0; peer < ranks(); ++peer) {
    const size_t bytes = peer == rank_ ? 0 : slots * options_.rows * strides_[peer] * sizeof(Bfloat16);
    parts.emplace_back(taken_[peer].data(), bytes);
  }
  return parts;
}

size_t DeviceEmbeddings::lookup_bytes() const {
  return ranks() == 1 || own_.features.empty() ? 0 : kSlotBytes + own_.words * sizeof(int32_t);
}

Status DeviceEmbeddings::fill_lookups(const TabularBatch& batch, uint32_t slot, std::byte* lookups) const {
  std::memcpy(lookups, &slot, sizeof(slot));
  return fill(own_, batch, reinterpret_cast<int32_t*>(lookups + kSlotBytes));
}

Status DeviceEmbeddings::fill(const Layout& layout, const TabularBatch& batch, int32_t* words) const {
  const size_t rows = layout.shape.rows;
  for (size_t i = 0; i < layout.features.size(); ++i) {
    const auto& own = layout.described[i];
    const size_t f = layout.features[i];
    int32_t* codes = words + own.codes;
    if (own.offsets == cuda::kOneCodeEach) {
      if (batch.rows > 0) std::copy_n(batch.categorical[f].codes, batch.rows, codes);
      std::fill(codes + batch.rows, codes + rows, -1);
      continue;
    }
    int32_t* offsets = words + own.offsets;
    const uint32_t* from = batch.rows > 0 ? batch.categorical[f].offsets : nullptr;
    const uint32_t begin = from == nullptr ? 0 : from[0], count = from == nullptr ? 0 : from[batch.rows] - begin;
    if (count > own.codes_max) {
      return invalid_argument("feature " + model_->shape().categorical[f].name + " has " + std::to_string(count) +
                              " values in a micro-batch, and there is room for " + std::to_string(own.codes_max));
    }
    if (count > 0) std::copy_n(batch.categorical[f].codes + begin, count, codes);
    for (size_t r = 0; r < batch.rows; ++r) offsets[r] = static_cast<int32_t>(from[r] - begin);
    std::fill(offsets + batch.rows, offsets + rows + 1, static_cast<int32_t>(count));
  }
  return Status::ok();
}

Status DeviceEmbeddings::begin_passes(std::span<const std::byte* const> lookups, cuda::Stream* stream) {
  if (!are_shared()) return Status::ok();
  const auto* described = own_described_.data<cuda::EmbeddingFeature>();
  for (size_t slot = 0; slot < lookups.size() && !own_.features.empty(); ++slot) {
    const auto* number = reinterpret_cast<const uint32_t*>(lookups[slot]);
    const auto* words = reinterpret_cast<const int32_t*>(lookups[slot] + kSlotBytes);
    Bfloat16* out = pooled_.data<Bfloat16>() + slot * options_.rows * own_.stride;
    RETURN_IF_ERROR(cuda::embedding_bag_forward(own_.shape, described, words, out, own_.stride, stream->get()));
    RETURN_IF_ERROR(cuda::embedding_bag_list(own_.shape, described, words, number, listed(), stream->get()));
  }
  const auto outgoing = given(lookups.size());
  return options_.devices->exchange("features of tables", {outgoing.begin(), outgoing.end()}, taken(lookups.size()),
                                    stream);
}

Status DeviceEmbeddings::forward(const int32_t* words, const uint32_t* slot, Bfloat16* out, size_t stride,
                                 cuda::CudaStream stream) const {
  if (all_.features.empty()) return Status::ok();
  const auto* described = all_described_.data<cuda::EmbeddingFeature>();
  if (ranks() == 1) return cuda::embedding_bag_forward(all_.shape, described, words, out, stride, stream);
  const auto first = static_cast<uint32_t>(slots_of(options_.slots, rank_).begin);
  return cuda::embedding_bag_gather(all_.shape, described, slot, parts_.data<cuda::EmbeddingPart>(), first, out, stride,
                                    stream);
}

Status DeviceEmbeddings::backward(const int32_t* words, const uint32_t* slot, const Bfloat16* a, const Bfloat16* b,
                                  size_t stride, cuda::CudaStream stream) {
  if (all_.features.empty()) return Status::ok();
  const auto* described = all_described_.data<cuda::EmbeddingFeature>();
  if (ranks() == 1) {
    RETURN_IF_ERROR(cuda::embedding_bag_list(all_.shape, described, words, slot, listed(), stream));
  }
  const auto first = static_cast<uint32_t>(slots_of(options_.slots, rank_).begin);
  return cuda::embedding_bag_keep(all_.shape, described, words, slot, a, b, stride, parts_.data<cuda::EmbeddingPart>(),
                                  first, stream);
}

Status DeviceEmbeddings::end_passes(size_t micro_batches, cuda::Stream* stream) {
  if (!are_shared()) return Status::ok();
  const auto outgoing = taken(micro_batches);
  return options_.devices->exchange("gradients of tables", {outgoing.begin(), outgoing.end()}, given(micro_batches),
                                    stream);
}

Status DeviceEmbeddings::update(const cuda::EmbeddingStep& step, cuda::Stream* stream) {
  if (own_.features.empty()) return Status::ok();
  RETURN_IF_ERROR(cuda::embedding_bag_update(own_.shape, own_described_.data<cuda::EmbeddingFeature>(), listed(),
                                             pooled_.data<Bfloat16>(), own_.stride, options_.adagrad, step,
                                             scratch_.data(), stream->get()));
  // A step of fewer micro-batches leaves slots as they are.
  return cuda::fill_bytes(lists_.data(), 0xFF, lists_.bytes() / 2, stream->get());
}

}  // namespace freshet::worker
