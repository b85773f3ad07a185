#include "worker/data/block_reader.h"

namespace freshet::worker {

Result<std::shared_ptr<arrow::Buffer>> BlockReader::next() {
  for (int64_t size = static_cast<int64_t>(kBatchBytes);; size *= 2) {
    auto read = file_->ReadAt(offset_, size);
    if (!read.ok()) return unavailable("cannot be read: " + read.status().message());
    std::shared_ptr<arrow::Buffer> block = *read;
    if (block->size() == 0) return std::shared_ptr<arrow::Buffer>();
    if (block->size() < size) {
      offset_ += block->size();
      return block;
    }
    ASSIGN_OR_RETURN(const int64_t whole, cut_(block));
    if (whole == 0) continue;
    offset_ += whole;
    return arrow::SliceBuffer(block, 0, whole);
  }
}

}  // namespace freshet::worker
