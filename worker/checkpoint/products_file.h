// products.txt, a file of models and checkpoints that were trained on a GPU: the table of matrix products that their
// training goes by (kernels/cuda/products.h), so that going on and replaying need nothing of the node's. Its digest is
// in their numerics fingerprint, which is what vouches for it. Blocking; any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "proto/artifact.pb.h"

namespace freshet::worker {

inline constexpr const char* kProductsFile = "products.txt";

// Creates it in `directory` and syncs it.
Result<v1::ArtifactFile> write_products(const std::filesystem::path& directory, const std::string& text);

// The text whose SHA-256 a fingerprint has as `products`; empty when that is: there was none. kCorrupt when the file
// holds another.
Result<std::string> read_products(const std::filesystem::path& directory, const std::string& digest);

}  // namespace freshet::worker
