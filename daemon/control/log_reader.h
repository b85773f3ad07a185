// LogReader: the output of a gang's processes, wherever it lies. An interface, because control opens no files.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace freshet::control {

class LogReader {
 public:
  virtual ~LogReader() = default;
  // Up to 1 MiB of the stream ("stdout" or "stderr") from the byte offset on; empty at its present end. not_found
  // when the gang has left no log here.
  virtual Result<std::string> read(const std::string& gang_id, const std::string& stream, uint64_t offset) const = 0;
};

}  // namespace freshet::control
