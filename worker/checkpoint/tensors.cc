#include "worker/checkpoint/tensors.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "base/sha256.h"

namespace freshet::worker {
namespace {

static_assert(std::endian::native == std::endian::little, "files and digests are little endian");

void add_number(Sha256* hash, uint64_t number) { hash->update(&number, sizeof number); }

void add_text(Sha256* hash, std::string_view text) {
  add_number(hash, text.size());
  hash->update(text);
}

}  // namespace

std::string weights_digest(const std::vector<TensorView>& tensors, const float* values) {
  std::vector<const TensorView*> sorted;
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  Sha256 hash;
  for (const auto* tensor : sorted) {
    add_text(&hash, tensor->name);
    add_text(&hash, "F32");
    add_number(&hash, tensor->shape.size());
    for (uint64_t dimension : tensor->shape) add_number(&hash, dimension);
    hash.update(values + tensor->offset, tensor->size * sizeof(float));
  }
  return hash.finish_hex();
}

}  // namespace freshet::worker
