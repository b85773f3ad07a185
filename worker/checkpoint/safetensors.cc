#include "worker/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>

namespace freshet::worker {
namespace {

Status bad(const std::string& what) { return corrupt("not a valid safetensors file: " + what); }

// 0: a dtype that is not known.
uint64_t bytes_of_dtype(std::string_view dtype) {
  for (std::string_view one : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"}) {
    if (dtype == one) return 1;
  }
  for (std::string_view two : {"F16", "BF16", "I16", "U16"}) {
    if (dtype == two) return 2;
  }
  for (std::string_view four : {"F32", "I32", "U32"}) {
    if (dtype == four) return 4;
  }
  return dtype == "F64" || dtype == "I64" || dtype == "U64" ? 8 : 0;
}

Status check_tensor(const HeaderTensor& tensor) {
  uint64_t bytes = bytes_of_dtype(tensor.dtype);
  if (bytes == 0) return bad("tensor " + tensor.name + " has the unknown dtype " + tensor.dtype);
  for (uint64_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return bad("the shape of " + tensor.name + " overflows");
  }
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

Result<SafetensorsParts> check_safetensors(std::string_view bytes) {
  auto parts = read_header(bytes);
  if (!parts.is_ok()) return bad(parts.status().message());
  std::stable_sort(parts->tensors.begin(), parts->tensors.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t at = 0;
  for (const auto& tensor : parts->tensors) {
    RETURN_IF_ERROR(check_tensor(tensor));
    if (tensor.begin != at) {
      return bad("the data of " + tensor.name + (tensor.begin < at ? " overlaps another tensor's" : " leaves a hole"));
    }
    at = tensor.end;
    if (at > parts->data.size()) return bad("it ends inside the data of " + tensor.name);
  }
  if (at != parts->data.size()) {
    return bad("there are " + std::to_string(parts->data.size() - at) + " bytes that no tensor owns");
  }
  return parts;
}

Result<Safetensors> parse_safetensors(std::string_view bytes) {
  ASSIGN_OR_RETURN(SafetensorsParts parts, check_safetensors(bytes));
  Safetensors file;
  for (const auto& tensor : parts.tensors) {
    if (tensor.dtype != "F32") {
      return invalid_argument("tensor " + tensor.name + " has dtype " + tensor.dtype + "; only F32 can be read");
    }
    file.tensors.push_back(
        {tensor.name, tensor.shape, tensor.begin / sizeof(float), (tensor.end - tensor.begin) / sizeof(float)});
  }
  file.values.resize(parts.data.size() / sizeof(float));
  if (!parts.data.empty()) std::memcpy(file.values.data(), parts.data.data(), parts.data.size());
  return file;
}

}  // namespace freshet::worker
