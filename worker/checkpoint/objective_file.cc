#include "worker/checkpoint/objective_file.h"

#include <string_view>

#include "base/file.h"
#include "base/sha256.h"

namespace freshet::worker {

Result<v1::ArtifactFile> write_objective_file(const std::filesystem::path& directory,
                                              std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  RETURN_IF_ERROR(write_file_durably(directory / kObjectiveFile, text));
  Sha256 hash;
  hash.update(text);
  v1::ArtifactFile file;
  file.set_name(kObjectiveFile);
  file.set_size(bytes.size());
  file.set_sha256(hash.finish_hex());
  return file;
}

Result<std::vector<std::byte>> read_objective_file(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const std::string text, read_file(directory / kObjectiveFile));
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return std::vector<std::byte>(first, first + text.size());
}

}  // namespace freshet::worker
