#include "daemon/store/read_set.h"

#include <algorithm>
#include <utility>

namespace freshet {
namespace {

thread_local ReadSet* current = nullptr;

}  // namespace

void ReadSet::add_key(std::string_view key) {
  if (!keys_.contains(key)) keys_.emplace(key);
}

void ReadSet::add_prefix(std::string_view prefix) {
  if (prefix.ends_with('/')) {
    if (!folders_.contains(prefix)) folders_.emplace(prefix);
  } else if (std::find(prefixes_.begin(), prefixes_.end(), prefix) == prefixes_.end()) {
    prefixes_.emplace_back(prefix);
  }
}

bool ReadSet::covers(std::string_view key) const {
  if (keys_.contains(key)) return true;
  for (size_t slash = key.find('/'); slash != std::string_view::npos; slash = key.find('/', slash + 1)) {
    if (folders_.contains(key.substr(0, slash + 1))) return true;
  }
  return std::any_of(prefixes_.begin(), prefixes_.end(), [&](const auto& prefix) { return key.starts_with(prefix); });
}

ReadScope::ReadScope(ReadSet* reads) : outer_(std::exchange(current, reads)) {}
ReadScope::~ReadScope() { current = outer_; }

ReadSet* current_reads() { return current; }

}  // namespace freshet
