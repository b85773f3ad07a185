// Pages of a listing: the size asked for within its bounds, and the token, which is the last key of a page and means
// nothing to the caller.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace freshet::control {

struct PageRequest {
  uint32_t size = 0;  // 0: kPageSizeDefault; more than kPageSizeMax is an error
  std::string token;
};

inline constexpr uint32_t kPageSizeDefault = 100;
inline constexpr uint32_t kPageSizeMax = 1000;

// The number of records to read; invalid_argument for a size or token that is not ours. `prefix` is the listing's.
Result<uint32_t> page_size(const PageRequest& page, const std::string& prefix);

// Cuts `items`, read with one more than `size`, to the page and returns the token of the next one (empty: the last).
template <class Item>
std::string cut_page(std::vector<Item>* items, uint32_t size) {
  if (items->size() <= size) return "";
  items->resize(size);
  return items->back().key;
}

}  // namespace freshet::control
