#include "proto/digest.h"

#include <algorithm>

#include "base/sha256.h"
#include "proto/json.h"

namespace freshet {

std::string message_digest(const google::protobuf::Message& message) {
  return Sha256::hex_of(to_canonical_json(message));
}

std::string dataset_digest(const v1::DatasetVersion& dataset) {
  v1::DatasetVersion entries;
  *entries.mutable_entries() = dataset.entries();
  std::sort(entries.mutable_entries()->begin(), entries.mutable_entries()->end(),
            [](const auto& a, const auto& b) { return a.uri() < b.uri(); });
  return message_digest(entries);
}

}  // namespace freshet
