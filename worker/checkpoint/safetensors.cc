#include "worker/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/safetensors_header.h"

namespace freshet::worker {
namespace {

Status bad(const std::string& what) { return corrupt("not a valid safetensors file: " + what); }

// The product of the shape in bytes.
Result<uint64_t> bytes_of_shape(const HeaderTensor& tensor) {
  uint64_t bytes = sizeof(float);
  for (uint64_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return bad("the shape of " + tensor.name + " overflows");
  }
  return bytes;
}

Status check_tensor(const HeaderTensor& tensor) {
  if (tensor.dtype != "F32") {
    return invalid_argument("tensor " + tensor.name + " has dtype " + tensor.dtype + "; only F32 can be read");
  }
  ASSIGN_OR_RETURN(uint64_t bytes, bytes_of_shape(tensor));
  if (tensor.begin > tensor.end || tensor.end - tensor.begin != bytes) {
    return bad("the data_offsets of " + tensor.name + " do not fit its shape");
  }
  return Status::ok();
}

}  // namespace

std::string write_safetensors(const std::vector<TensorView>& tensors, const float* values) {
  std::vector<const TensorView*> sorted;
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  std::vector<HeaderTensor> header;
  uint64_t at = 0;
  for (const auto* tensor : sorted) {
    uint64_t end = at + tensor->size * sizeof(float);
    header.push_back({tensor->name, "F32", tensor->shape, at, end});
    at = end;
  }
  std::string bytes = write_header(header);
  bytes.reserve(bytes.size() + at);
  for (const auto* tensor : sorted) {
    bytes.append(reinterpret_cast<const char*>(values + tensor->offset), tensor->size * sizeof(float));
  }
  return bytes;
}

Result<Safetensors> parse_safetensors(std::string_view bytes) {
  auto parts = read_header(bytes);
  if (!parts.is_ok()) return bad(parts.status().message());
  auto& header = parts->tensors;
  const std::string_view data = parts->data;
  std::stable_sort(header.begin(), header.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  Safetensors file;
  uint64_t at = 0;
  for (const auto& tensor : header) {
    RETURN_IF_ERROR(check_tensor(tensor));
    if (tensor.begin != at) {
      return bad("the data of " + tensor.name + (tensor.begin < at ? " overlaps another tensor's" : " leaves a hole"));
    }
    at = tensor.end;
    if (at > data.size()) return bad("it ends inside the data of " + tensor.name);
    file.tensors.push_back(
        {tensor.name, tensor.shape, tensor.begin / sizeof(float), (tensor.end - tensor.begin) / sizeof(float)});
  }
  if (at != data.size()) return bad("there are " + std::to_string(data.size() - at) + " bytes that no tensor owns");
  file.values.resize(data.size() / sizeof(float));
  if (!data.empty()) std::memcpy(file.values.data(), data.data(), data.size());
  return file;
}

}  // namespace freshet::worker
