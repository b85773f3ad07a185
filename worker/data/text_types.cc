#include "worker/data/text_types.h"

#include <arrow/array/util.h>

namespace freshet::worker {
namespace {

bool is_number(const arrow::DataType& type) {
  return type.id() == arrow::Type::INT64 || type.id() == arrow::Type::DOUBLE;
}

// Dates and times, from the coarsest to the finest; 0 for others.
int fineness(const arrow::DataType& type) {
  if (type.id() == arrow::Type::DATE32) return 1;
  if (type.id() != arrow::Type::TIMESTAMP) return 0;
  return 2 + static_cast<int>(static_cast<const arrow::TimestampType&>(type).unit());
}

}  // namespace

std::shared_ptr<arrow::DataType> type_of_both(const std::shared_ptr<arrow::DataType>& a,
                                              const std::shared_ptr<arrow::DataType>& b) {
  if (a == nullptr || a->id() == arrow::Type::NA) return b;
  if (b == nullptr || b->id() == arrow::Type::NA || a->Equals(b)) return a;
  if (is_number(*a) && is_number(*b)) return arrow::float64();
  if (fineness(*a) > 0 && fineness(*b) > 0) return fineness(*a) > fineness(*b) ? a : b;
  return arrow::utf8();
}

Result<std::shared_ptr<arrow::ChunkedArray>> missing_column(const std::shared_ptr<arrow::DataType>& type,
                                                            int64_t rows) {
  auto array = arrow::MakeArrayOfNull(type, rows);
  if (!array.ok()) return resource_exhausted(array.status().message());
  return std::make_shared<arrow::ChunkedArray>(*array);
}

}  // namespace freshet::worker
