// The bytes of a text file in blocks of whole records, so that a file of any size takes the memory of a block. One
// thread at a time; the file must not be written to.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <arrow/buffer.h>

#include "base/status.h"
#include "worker/data/decoder.h"

namespace freshet::worker {

class BlockReader {
 public:
  // How many of these bytes are whole records; 0 when none is. What follows begins the next block.
  using Cut = std::function<Result<int64_t>(const std::shared_ptr<arrow::Buffer>&)>;

  BlockReader(EntryBytes file, Cut cut) : file_(std::move(file)), cut_(std::move(cut)) {}

  // About kBatchBytes, or one record if that is longer. Null after the last; what is left at the end is a block.
  Result<std::shared_ptr<arrow::Buffer>> next();

 private:
  EntryBytes file_;
  Cut cut_;
  int64_t offset_ = 0;
};

}  // namespace freshet::worker
