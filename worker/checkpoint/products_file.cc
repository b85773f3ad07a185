#include "worker/checkpoint/products_file.h"

#include "base/file.h"
#include "base/sha256.h"

namespace freshet::worker {

Result<v1::ArtifactFile> write_products(const std::filesystem::path& directory, const std::string& text) {
  RETURN_IF_ERROR(write_file_durably(directory / kProductsFile, text));
  v1::ArtifactFile file;
  file.set_name(kProductsFile);
  file.set_size(text.size());
  file.set_sha256(Sha256::hex_of(text));
  return file;
}

Result<std::string> read_products(const std::filesystem::path& directory, const std::string& digest) {
  if (digest.empty()) return std::string();
  const std::filesystem::path path = directory / kProductsFile;
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  if (Sha256::hex_of(text) != digest) return corrupt(path.string() + " is not the table that the numerics name");
  return text;
}

}  // namespace freshet::worker
