#include "worker/checkpoint/shard.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/parse_number.h"
#include "base/sha256.h"
#include "worker/checkpoint/safetensors_header.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = size_t{4} << 20;

// Weights keep their names, so that any reader of safetensors finds them.
constexpr const char* kWeights = "";
constexpr const char* kMoments[] = {"optim.m.", "optim.v."};
constexpr const char* kRowSums = "optim.sum.";

// The elements `part` of a tensor, counted from its start, behind what is in the header.
void add_slice(const std::string& prefix, const TensorView& tensor, Range part, std::vector<HeaderTensor>* header) {
  const uint64_t at = header->empty() ? 0 : header->back().end;
  HeaderTensor slice{prefix + tensor.name, "F32", tensor.shape, at, at + part.size() * sizeof(float)};
  if (part.size() != tensor.size) {
    slice.name += "[" + std::to_string(part.begin) + ":" + std::to_string(part.end) + "]";
    slice.shape = {part.size()};
  }
  header->push_back(std::move(slice));
}

std::string header_of(const std::vector<TensorView>& tensors, Range range) {
  std::vector<HeaderTensor> header;
  for (const char* prefix : {kWeights, kMoments[0], kMoments[1]}) {
    for (const auto& tensor : tensors) {
      size_t begin = std::max(tensor.offset, range.begin), end = std::min(tensor.offset + tensor.size, range.end);
      if (begin < end) add_slice(prefix, tensor, {begin - tensor.offset, end - tensor.offset}, &header);
    }
  }
  return write_header(header);
}

// A number for each row of a table.
TensorView row_sums_of(const TensorView& table, size_t offset) {
  return {table.name, {table.shape[0]}, offset, table.shape[0]};
}

// A file that is hashed as it is written. It goes around the page cache where the file system allows it: what is
// written is not read soon, and memory for it would have to be found while a training uses it.
class HashedFile {
 public:
  // `size`: that it will have. Room on the disk is taken at once.
  Status create(const fs::path& path, uint64_t size) {
    path_ = path;
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    fd_ = Fd(open(path.c_str(), kFlags | O_DIRECT, 0644));
    if (!fd_.is_open() && errno == EINVAL) {  // a tmpfs; the name may have been made
      unlink(path.c_str());
      fd_ = Fd(open(path.c_str(), kFlags, 0644));
    }
    if (!fd_.is_open()) return errno_status("create " + path.string(), errno);
    const int refused = posix_fallocate(fd_.get(), 0, static_cast<off_t>(size));
    return refused == 0 ? Status::ok() : errno_status("room for " + path.string(), refused);
  }

  Status append(const void* data, size_t size) {
    hash_.update(data, size);
    size_ += size;
    for (const char* at = static_cast<const char*>(data); size > 0;) {
      const size_t part = std::min(size, kPieceBytes - waiting_);
      std::memcpy(piece_.get() + waiting_, at, part);
      at += part;
      size -= part;
      waiting_ += part;
      if (waiting_ == kPieceBytes) RETURN_IF_ERROR(write_waiting());
    }
    return Status::ok();
  }

  Result<v1::ArtifactFile> finish() {
    // The end of the file is no whole number of the disk's blocks.
    const int flags = fcntl(fd_.get(), F_GETFL);
    if (flags < 0 || fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) != 0) {
      return errno_status("fcntl " + path_.string(), errno);
    }
    RETURN_IF_ERROR(write_waiting());
    CRASH_POINT("snapshot.shard.before_sync");
    if (fsync(fd_.get()) != 0) return errno_status("fsync " + path_.string(), errno);
    CRASH_POINT("snapshot.shard.after_sync");
    v1::ArtifactFile file;
    file.set_name(path_.filename().string());
    file.set_size(size_);
    file.set_sha256(hash_.finish_hex());
    return file;
  }

 private:
  struct Free {
    void operator()(char* piece) const { ::operator delete[](piece, kAlignment); }
  };
  static constexpr std::align_val_t kAlignment{4096};

  Status write_waiting() {
    Status status = write_all(fd_.get(), piece_.get(), waiting_);
    waiting_ = 0;
    return status.with_context("write " + path_.string());
  }

  fs::path path_;
  Fd fd_;
  Sha256 hash_;
  uint64_t size_ = 0;
  std::unique_ptr<char, Free> piece_{static_cast<char*>(::operator new[](kPieceBytes, kAlignment))};
  size_t waiting_ = 0;  // bytes of the piece that are not written yet
};

Status append_floats(const float* values, size_t count, const std::atomic<bool>& stop, HashedFile* file) {
  const char* bytes = reinterpret_cast<const char*>(values);
  const size_t size = count * sizeof(float);
  for (size_t at = 0; at < size; at += kPieceBytes) {
    if (stop.load(std::memory_order_relaxed)) return cancelled("the training has ended");
    RETURN_IF_ERROR(file->append(bytes + at, std::min(kPieceBytes, size - at)));
  }
  return Status::ok();
}

// Straight to where the values belong, without a copy of the file.
Status read_at(const Fd& fd, const fs::path& path, uint64_t offset, size_t size, void* to) {
  for (char* at = static_cast<char*>(to); size > 0;) {
    const ssize_t n = pread(fd.get(), at, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("read " + path.string(), errno);
    if (n == 0) return corrupt(path.string() + ": it ends early");
    at += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
  return Status::ok();
}

}  // namespace

std::string shard_name(Range range) {
  char name[80];
  std::snprintf(name, sizeof name, "elements-%012zu-%012zu.safetensors", range.begin, range.end);
  return name;
}

Result<v1::ArtifactFile> write_shard(const fs::path& directory, const std::vector<TensorView>& tensors,
                                     const ShardValues& values, const std::atomic<bool>& stop) {
  HashedFile file;
  std::string header = header_of(tensors, values.range);
  RETURN_IF_ERROR(
      file.create(directory / shard_name(values.range), header.size() + 3 * values.range.size() * sizeof(float)));
  RETURN_IF_ERROR(file.append(header.data(), header.size()));
  for (const float* part : {values.parameters, values.m, values.v}) {
    RETURN_IF_ERROR(append_floats(part, values.range.size(), stop, &file));
  }
  return file.finish();
}

Result<v1::ArtifactFile> write_table_shard(const fs::path& directory, const TensorView& table, const TableRows& rows,
                                           const std::atomic<bool>& stop) {
  const Range elements{rows.rows.begin * rows.dim, rows.rows.end * rows.dim};
  std::vector<HeaderTensor> slices;
  add_slice(kWeights, table, elements, &slices);
  add_slice(kRowSums, row_sums_of(table, 0), rows.rows, &slices);
  const std::string header = write_header(slices);
  HashedFile file;
  RETURN_IF_ERROR(file.create(directory / shard_name({table.offset + elements.begin, table.offset + elements.end}),
                              header.size() + (elements.size() + rows.rows.size()) * sizeof(float)));
  RETURN_IF_ERROR(file.append(header.data(), header.size()));
  RETURN_IF_ERROR(append_floats(rows.values, elements.size(), stop, &file));
  RETURN_IF_ERROR(append_floats(rows.sums, rows.rows.size(), stop, &file));
  return file.finish();
}

ShardTarget::ShardTarget(const std::vector<TensorView>& tensors, const TrainingMemory& memory) : tensors_(tensors) {
  size_t count = 0, rows = 0;
  for (const auto& tensor : tensors) count += tensor.size;
  const size_t first = count - memory.parameters.size();  // behind the tables
  const Range segment{first + memory.segment.begin, first + memory.segment.end};
  Kind weights{kWeights, &tensors_, {0, count}, {{{first, count}, memory.parameters.data()}}, {}};
  Kind sums{kRowSums, &row_sums_, {0, 0}, {}, {}};
  for (size_t t = 0; t < memory.tables.size(); ++t) {
    const TableMemory& table = memory.tables[t];
    const size_t begin = tensors[t].offset + table.rows.begin * table.dim;
    weights.wanted.push_back({{begin, begin + table.values.size()}, table.values.data()});
    sums.wanted.push_back({{rows + table.rows.begin, rows + table.rows.end}, table.sums.data()});
    row_sums_.push_back(row_sums_of(tensors[t], rows));
    rows += tensors[t].shape[0];
  }
  sums.whole.end = rows;
  kinds_ = {std::move(weights),
            {kMoments[0], &tensors_, {first, count}, {{segment, memory.m.data()}}, {}},
            {kMoments[1], &tensors_, {first, count}, {{segment, memory.v.data()}}, {}},
            std::move(sums)};
}

Result<Range> ShardTarget::place_of(const std::vector<TensorView>& tensors, const std::string& name,
                                    const std::vector<uint64_t>& shape) {
  for (const auto& tensor : tensors) {
    if (!name.starts_with(tensor.name)) continue;
    if (name == tensor.name) {
      if (shape != tensor.shape) return corrupt("the tensor " + name + " has another shape than in the model");
      return Range{tensor.offset, tensor.offset + tensor.size};
    }
    std::string_view suffix = std::string_view(name).substr(tensor.name.size());
    size_t colon = suffix.find(':');
    uint64_t begin = 0, end = 0;
    if (!suffix.starts_with('[') || !suffix.ends_with(']') || colon == std::string_view::npos ||
        !parse_number(suffix.substr(1, colon - 1), &begin) ||
        !parse_number(suffix.substr(colon + 1, suffix.size() - colon - 2), &end)) {
      continue;  // another tensor, whose name begins with this one's
    }
    if (begin >= end || end > tensor.size || shape != std::vector<uint64_t>{end - begin}) {
      return corrupt(name + " is no part of a tensor of " + std::to_string(tensor.size) + " elements");
    }
    return Range{tensor.offset + begin, tensor.offset + end};
  }
  return corrupt("the model has no tensor " + name);
}

Status ShardTarget::read(const fs::path& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  auto bad = [&](const std::string& what) { return corrupt(path.string() + ": " + what); };
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) return errno_status("stat " + path.string(), errno);
  const auto size = static_cast<uint64_t>(info.st_size);
  std::string start(std::min<uint64_t>(size, sizeof(uint64_t)), '\0');
  RETURN_IF_ERROR(read_at(fd, path, 0, start.size(), start.data()));
  start.resize(std::min(size, header_end(start)));
  RETURN_IF_ERROR(read_at(fd, path, 0, start.size(), start.data()));
  auto parts = read_header(start);
  if (!parts.is_ok()) return bad(parts.status().message());
  for (const auto& tensor : parts->tensors) {
    // The longest prefix first: that of the weights is empty.
    auto kind =
        std::find_if(kinds_.rbegin(), kinds_.rend(), [&](const Kind& k) { return tensor.name.starts_with(k.prefix); });
    auto place = place_of(*kind->tensors, tensor.name.substr(kind->prefix.size()), tensor.shape);
    if (!place.is_ok()) return bad(place.status().message());
    if (tensor.dtype != "F32" || tensor.end > size - start.size() || tensor.begin > tensor.end ||
        tensor.end - tensor.begin != place->size() * sizeof(float)) {
      return bad("the data of " + tensor.name + " does not fit its shape");
    }
    {
      std::lock_guard lock(mutex_);
      kind->arrived.push_back(*place);
    }
    for (const Place& part : kind->wanted) {
      const size_t begin = std::max(place->begin, part.range.begin), end = std::min(place->end, part.range.end);
      if (begin >= end) continue;
      RETURN_IF_ERROR(read_at(fd, path, start.size() + tensor.begin + (begin - place->begin) * sizeof(float),
                              (end - begin) * sizeof(float), part.values + (begin - part.range.begin)));
    }
  }
  return Status::ok();
}

Status ShardTarget::check_complete() {
  for (auto& kind : kinds_) {
    std::sort(kind.arrived.begin(), kind.arrived.end(), [](Range a, Range b) { return a.begin < b.begin; });
    size_t at = kind.whole.begin;
    for (Range range : kind.arrived) {
      if (range.begin != at) {
        return corrupt("element " + std::to_string(at) + " of \"" + kind.prefix + "\" is in " +
                       (range.begin > at ? "no file" : "two files"));
      }
      at = range.end;
    }
    if (at != kind.whole.end) return corrupt("element " + std::to_string(at) + " is in no file");
  }
  return Status::ok();
}

}  // namespace freshet::worker
