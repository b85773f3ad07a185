#include "worker/checkpoint/artifact_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"
#include "proto/json.h"
#include "worker/checkpoint/manifest.h"

namespace freshet::worker {
namespace {

namespace fs = std::filesystem;

Status write_new_file(const fs::path& path, std::string_view bytes) {
  Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.is_open()) return errno_status("create " + path.string(), errno);
  if (Status status = write_all(fd.get(), bytes.data(), bytes.size()); !status.is_ok()) {
    return status.with_context("write " + path.string());
  }
  CRASH_POINT("checkpoint.file.before_sync");
  if (fsync(fd.get()) != 0) return errno_status("fsync " + path.string(), errno);
  CRASH_POINT("checkpoint.file.after_sync");
  return Status::ok();
}

}  // namespace

Result<ArtifactWriter> ArtifactWriter::create(const fs::path& output_dir, const std::string& name,
                                              const std::string& type) {
  CHECK(is_file_name(name));
  ArtifactWriter writer;
  writer.output_dir_ = output_dir;
  writer.name_ = name;
  writer.manifest_.set_type(type);
  std::error_code error;
  if (fs::exists(output_dir / name, error)) return already_exists("output " + (output_dir / name).string());
  fs::remove_all(output_dir / (name + ".tmp"), error);
  if (error) return unavailable("cannot remove " + (output_dir / (name + ".tmp")).string() + ": " + error.message());
  RETURN_IF_ERROR(make_directories(output_dir / (name + ".tmp")));
  return writer;
}

Status ArtifactWriter::add_file(const std::string& name, std::string_view bytes) {
  CHECK(is_file_name(name) && name != kManifest);
  RETURN_IF_ERROR(write_new_file(output_dir_ / (name_ + ".tmp") / name, bytes));
  auto* file = manifest_.add_files();
  file->set_name(name);
  file->set_size(bytes.size());
  file->set_sha256(Sha256::hex_of(bytes));
  return Status::ok();
}

Result<v1::ProducedOutput> ArtifactWriter::seal() {
  std::sort(manifest_.mutable_files()->begin(), manifest_.mutable_files()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  fs::path open_path = output_dir_ / (name_ + ".tmp"), path = output_dir_ / name_;
  std::string manifest = to_canonical_json(manifest_);
  CRASH_POINT("checkpoint.manifest.before_write");
  RETURN_IF_ERROR(write_new_file(open_path / kManifest, manifest));
  CRASH_POINT("checkpoint.directory.before_sync");
  RETURN_IF_ERROR(sync_directory(open_path));
  CRASH_POINT("checkpoint.directory.after_sync");
  std::error_code error;
  CRASH_POINT("checkpoint.directory.before_rename");
  fs::rename(open_path, path, error);
  if (error) return unavailable("rename " + open_path.string() + ": " + error.message());
  CRASH_POINT("checkpoint.directory.after_rename");
  RETURN_IF_ERROR(sync_directory(output_dir_));
  CRASH_POINT("checkpoint.directory.after_parent_sync");

  v1::ProducedOutput output;
  output.set_name(name_);
  output.set_type(manifest_.type());
  output.set_path(path.string());
  output.set_digest(Sha256::hex_of(manifest));
  return output;
}

}  // namespace freshet::worker
