// What benchmarks write for PyTorch's side, and read themselves.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/weights.h"

namespace freshet::worker {

inline Status write_bytes(const std::string& path, const void* data, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  return file.flush() ? Status::ok() : unavailable("cannot write " + path);
}

inline Status write_tensors(const std::string& path, const std::vector<TensorView>& tensors, const float* values) {
  const std::string bytes = write_safetensors(tensors, values);
  return write_bytes(path, bytes.data(), bytes.size());
}

inline Result<std::vector<float>> read_tensors(const std::string& path, const std::vector<TensorView>& tensors) {
  ASSIGN_OR_RETURN(const auto bytes, read_file(path));
  ASSIGN_OR_RETURN(const auto file, parse_safetensors(bytes));
  return arrange(tensors, file);
}

}  // namespace freshet::worker
