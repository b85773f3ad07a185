#include "worker/gpu/device_tables.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace freshet::worker {
namespace {

constexpr size_t kBorder = 64;  // floats: 256 bytes

size_t on_border(size_t floats) { return (floats + kBorder - 1) / kBorder * kBorder; }

}  // namespace

Result<DeviceTables> DeviceTables::create(std::span<const TensorView> tables, int ranks, int rank) {
  DeviceTables made(ranks, rank);
  for (const auto& tensor : tables) {
    CHECK(tensor.shape.size() == 2 && tensor.offset == made.elements_);
    made.tables_.push_back({tensor.shape[0], tensor.shape[1]});
    made.elements_ += tensor.size;
    made.rows_ += tensor.shape[0];
  }
  made.share_out();
  size_t end = 0;
  for (size_t t = 0; t < made.tables_.size(); ++t) {
    if (!made.is_own(t)) continue;
    Table& table = made.tables_[t];
    table.values = end;
    table.sums = on_border(end + table.rows * table.dim);
    end = on_border(table.sums + table.rows);
  }
  auto memory = cuda::DeviceMemory::allocate(end * sizeof(float));
  RETURN_IF_ERROR(memory.status().with_context("embedding tables"));
  made.memory_ = *std::move(memory);
  ASSIGN_OR_RETURN(auto stream, cuda::Stream::create());
  RETURN_IF_ERROR(cuda::fill_bytes(made.memory_.data(), 0, made.bytes(), stream.get()));
  RETURN_IF_ERROR(stream.synchronize());
  return made;
}

void DeviceTables::share_out() {
  std::vector<size_t> order(tables_.size()), load(static_cast<size_t>(ranks_));
  std::iota(order.begin(), order.end(), 0);
  auto size = [this](size_t t) { return tables_[t].rows * (tables_[t].dim + 1); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return size(a) > size(b); });
  for (size_t t : order) {
    const auto least = std::min_element(load.begin(), load.end());
    tables_[t].owner = static_cast<int>(least - load.begin());
    *least += size(t);
  }
}

Status DeviceTables::start(const float* all, cuda::Stream* stream) {
  RETURN_IF_ERROR(wait_for_snapshot(stream));
  for (size_t t = 0; t < tables_.size(); ++t) {
    const Table& table = tables_[t];
    const size_t count = table.rows * table.dim;
    if (is_own(t)) {
      RETURN_IF_ERROR(cuda::copy_to_device(values(t), all, count * sizeof(float), stream->get()));
      RETURN_IF_ERROR(cuda::fill_bytes(sums(t), 0, table.rows * sizeof(float), stream->get()));
    }
    all += count;
  }
  return stream->synchronize();
}

std::vector<TableMemory> DeviceTables::view(float* host) const {
  std::vector<TableMemory> memory;
  for (size_t t = 0; t < tables_.size(); ++t) {
    const Table& table = tables_[t];
    if (is_own(t)) {
      memory.push_back({{0, table.rows},
                        table.dim,
                        std::span(host + table.values, table.rows * table.dim),
                        std::span(host + table.sums, table.rows)});
    } else {
      memory.push_back({{0, 0}, table.dim, {}, {}});
    }
  }
  return memory;
}

Status DeviceTables::load(const float* host, cuda::Stream* stream) {
  RETURN_IF_ERROR(wait_for_snapshot(stream));
  RETURN_IF_ERROR(cuda::copy_to_device(memory_.data(), host, memory_.bytes(), stream->get()));
  return stream->synchronize();
}

Status DeviceTables::snapshot(const cuda::Stream& stream, TrainingSnapshot* snapshot) {
  if (!copy_) {
    ASSIGN_OR_RETURN(copy_, HostCopy::create(bytes()));
  }
  RETURN_IF_ERROR(copy_->begin(memory_, {}, stream));
  snapshot->tables = view(copy_->data());
  snapshot->wait = [wait = std::move(snapshot->wait), copy = copy_.get()]() -> Status {
    if (wait) RETURN_IF_ERROR(wait());
    return copy->wait();
  };
  return Status::ok();
}

// `count` floats of one table reach rank 0.
Status DeviceTables::gather(size_t table, const float* own, size_t count, Communicator* comm, cuda::Stream* stream,
                            float* all) const {
  std::vector<float> part(is_own(table) ? count : 0);
  RETURN_IF_ERROR(cuda::copy_to_host(part.data(), own, part.size() * sizeof(float), stream->get()));
  RETURN_IF_ERROR(stream->synchronize());
  std::vector<MutableBytes> parts(static_cast<size_t>(comm->size()));
  if (comm->rank() == 0) parts[static_cast<size_t>(owner(table))] = bytes_of(std::span(all, count));
  return comm->gather(bytes_of(std::span<const float>(part)), parts);
}

Status DeviceTables::gather_values(Communicator* comm, cuda::Stream* stream, float* all) const {
  size_t at = 0;
  for (size_t t = 0; t < tables_.size(); ++t) {
    const size_t count = tables_[t].rows * tables_[t].dim;
    RETURN_IF_ERROR(gather(t, values(t), count, comm, stream, all == nullptr ? nullptr : all + at));
    at += count;
  }
  return Status::ok();
}

Status DeviceTables::gather_sums(Communicator* comm, cuda::Stream* stream, float* all) const {
  size_t at = 0;
  for (size_t t = 0; t < tables_.size(); ++t) {
    RETURN_IF_ERROR(gather(t, sums(t), tables_[t].rows, comm, stream, all == nullptr ? nullptr : all + at));
    at += tables_[t].rows;
  }
  return Status::ok();
}

}  // namespace freshet::worker
