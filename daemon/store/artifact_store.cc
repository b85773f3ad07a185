#include "daemon/store/artifact_store.h"

#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/unfinished_files.h"
#include "daemon/store/keys.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kManifestBytesMax = 16 << 20;

Status check_digest(const std::string& digest) {
  if (is_sha256_hex(digest)) return Status::ok();
  return invalid_argument("'" + digest.substr(0, 100) + "' is not a digest: 64 lowercase hex digits expected");
}

// A relative path that stays inside the artifact and looks the same to everybody.
bool is_good_name(std::string_view name) {
  if (name.empty() || name.size() > 512 || name == "manifest.json") return false;
  size_t start = 0;
  for (size_t i = 0; i <= name.size(); ++i) {
    if (i < name.size() && name[i] != '/') {
      auto c = static_cast<unsigned char>(name[i]);
      if (c < 0x20 || c == 0x7f || c == '\\') return false;
      continue;
    }
    std::string_view part = name.substr(start, i - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = i + 1;
  }
  return true;
}

// Checks the bytes that pass by against what was announced.
class Announced {
 public:
  Announced(std::string sha256, std::optional<uint64_t> size) : sha256_(std::move(sha256)), size_(size) {}

  Status add(std::string_view bytes) {
    seen_ += bytes.size();
    if (size_ && seen_ > *size_) return wrong_size("more");
    hash_.update(bytes);
    return Status::ok();
  }
  Status finish() {
    if (size_ && seen_ != *size_) return wrong_size(std::to_string(seen_));
    std::string found = hash_.finish_hex();
    if (found == sha256_) return Status::ok();
    return invalid_argument("the content hashes to " + found + ", not to " + sha256_);
  }
  const std::string& sha256() const { return sha256_; }

 private:
  Status wrong_size(const std::string& found) const {
    return invalid_argument("file " + sha256_ + " was announced with " + std::to_string(*size_) + " bytes but has " +
                            found);
  }

  std::string sha256_;
  std::optional<uint64_t> size_;
  uint64_t seen_ = 0;
  Sha256 hash_;
};

class LocalFileWriter final : public ArtifactWriter {
 public:
  LocalFileWriter(Announced announced, Fd fd, fs::path temporary, fs::path target)
      : announced_(std::move(announced)),
        fd_(std::move(fd)),
        temporary_(std::move(temporary)),
        target_(std::move(target)) {}
  ~LocalFileWriter() override {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  Status append(std::string_view bytes) override {
    RETURN_IF_ERROR(announced_.add(bytes));
    return write_all(fd_.get(), bytes.data(), bytes.size()).with_context(temporary_.string());
  }

  Status finish() override {
    RETURN_IF_ERROR(announced_.finish());
    CRASH_POINT("artifact.file.before_sync");
    if (::fsync(fd_.get()) != 0) return errno_status("fsync " + temporary_.string(), errno);
    CRASH_POINT("artifact.file.after_sync");
    if (::fchmod(fd_.get(), 0444) != 0) return errno_status("chmod " + temporary_.string(), errno);
    RETURN_IF_ERROR(make_directories(target_.parent_path()));
    CRASH_POINT("artifact.file.before_rename");
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
      return errno_status("rename to " + target_.string(), errno);
    }
    temporary_.clear();
    CRASH_POINT("artifact.file.after_rename");
    RETURN_IF_ERROR(sync_directory(target_.parent_path()));
    CRASH_POINT("artifact.file.between_directory_syncs");
    return sync_directory(target_.parent_path().parent_path());
  }

 private:
  Announced announced_;
  Fd fd_;
  fs::path temporary_;  // empty once renamed
  fs::path target_;
};

Status check_pin(const std::string& by) {
  if (by.empty() || by == "." || by == "..") return invalid_argument("'" + by + "' is not a name for a pin");
  return Status::ok();
}

Status missing_artifact(const std::string& digest) { return not_found("artifact " + digest + " does not exist"); }

Result<v1::ArtifactFile> file_of(const v1::ArtifactManifest& manifest, const std::string& digest,
                                 const std::string& name) {
  for (const v1::ArtifactFile& file : manifest.files()) {
    if (file.name() == name) return file;
  }
  return not_found("artifact " + digest + " has no file " + name);
}

Status file_missing(const v1::ArtifactFile& file) {
  return conflict("file " + file.name() + " (" + file.sha256() + ") has not been put; put it, then seal again");
}

Status file_wrong_size(const v1::ArtifactFile& file, uint64_t size) {
  return invalid_argument("file " + file.name() + " is listed with " + std::to_string(file.size()) + " bytes but has " +
                          std::to_string(size));
}

}  // namespace

Result<v1::ArtifactManifest> check_manifest(const std::string& digest, const std::string& manifest) {
  RETURN_IF_ERROR(check_digest(digest));
  if (manifest.size() > kManifestBytesMax) return invalid_argument("the manifest is larger than 16 MiB");
  std::string found = Sha256::hex_of(manifest);
  if (found != digest) return invalid_argument("the manifest hashes to " + found + ", not to " + digest);
  v1::ArtifactManifest parsed;
  auto status = google::protobuf::util::JsonStringToMessage(manifest, &parsed);
  if (!status.ok()) return invalid_argument("the manifest is not an ArtifactManifest: " + status.ToString());
  const std::string* before = nullptr;
  for (const v1::ArtifactFile& file : parsed.files()) {
    if (!is_good_name(file.name())) {
      return invalid_argument("'" + file.name() + "' is not a name for a file of an artifact");
    }
    if (before != nullptr && file.name() <= *before) {
      return invalid_argument("the manifest's files are not sorted by name, or twice the same: " + file.name());
    }
    RETURN_IF_ERROR(check_digest(file.sha256()).with_context("file " + file.name()));
    before = &file.name();
  }
  return parsed;
}

Status put_bytes(ArtifactStore& store, std::string_view bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<ArtifactWriter> writer, store.put_file(Sha256::hex_of(bytes), bytes.size()));
  RETURN_IF_ERROR(writer->append(bytes));
  return writer->finish();
}

// ---- LocalArtifactStore ----

Result<std::unique_ptr<LocalArtifactStore>> LocalArtifactStore::open(fs::path root) {
  for (const char* folder : {"blobs", "sealed", "pins", "incoming"}) {
    RETURN_IF_ERROR(make_directories(root / folder));
  }
  std::error_code error;
  for (const fs::directory_entry& left : fs::directory_iterator(root / "incoming", error)) {
    std::error_code ignored;
    fs::remove(left.path(), ignored);
  }
  if (error) return errno_status("list " + (root / "incoming").string(), error.value());
  RETURN_IF_ERROR(remove_unfinished_files(root / "sealed"));
  // One of these would count as a pin.
  for (const fs::directory_entry& pinned : fs::directory_iterator(root / "pins", error)) {
    RETURN_IF_ERROR(remove_unfinished_files(pinned.path()));
  }
  if (error) return errno_status("list " + (root / "pins").string(), error.value());
  return std::unique_ptr<LocalArtifactStore>(new LocalArtifactStore(std::move(root)));
}

fs::path LocalArtifactStore::blob_path(const std::string& sha256) const {
  return root_ / "blobs" / sha256.substr(0, 2) / sha256;
}

Result<std::unique_ptr<ArtifactWriter>> LocalArtifactStore::put_file(const std::string& sha256,
                                                                     std::optional<uint64_t> size) {
  RETURN_IF_ERROR(check_digest(sha256));
  static std::atomic<uint64_t> counter{0};
  fs::path temporary = root_ / "incoming" / (sha256 + "-" + std::to_string(counter.fetch_add(1)));
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.is_open()) return errno_status("create " + temporary.string(), errno);
  CRASH_POINT("artifact.file.after_create");
  return std::unique_ptr<ArtifactWriter>(
      new LocalFileWriter(Announced(sha256, size), std::move(fd), std::move(temporary), blob_path(sha256)));
}

bool LocalArtifactStore::has_file(const std::string& sha256) const {
  return is_sha256_hex(sha256) && ::access(blob_path(sha256).c_str(), F_OK) == 0;
}

Result<v1::ArtifactManifest> LocalArtifactStore::seal(const std::string& digest, const std::string& manifest) {
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, check_manifest(digest, manifest));
  std::lock_guard lock(mutex_);
  if (exists(digest)) return parsed;
  for (const v1::ArtifactFile& file : parsed.files()) {
    struct stat info{};
    if (::stat(blob_path(file.sha256()).c_str(), &info) != 0) return file_missing(file);
    if (static_cast<uint64_t>(info.st_size) != file.size()) {
      return file_wrong_size(file, static_cast<uint64_t>(info.st_size));
    }
  }
  CRASH_POINT("artifact.manifest.before_write");
  RETURN_IF_ERROR(put_bytes(*this, manifest));
  CRASH_POINT("artifact.manifest.before_mark");
  RETURN_IF_ERROR(write_file_durably(sealed_path(digest), ""));
  CRASH_POINT("artifact.manifest.after_mark");
  if (references_) add_references(digest, parsed, 1);
  return parsed;
}

bool LocalArtifactStore::exists(const std::string& digest) const {
  return is_sha256_hex(digest) && ::access(sealed_path(digest).c_str(), F_OK) == 0;
}

Result<std::string> LocalArtifactStore::read_blob(const std::string& sha256) const {
  ASSIGN_OR_RETURN(std::string bytes, read_file(blob_path(sha256)));
  std::string found = Sha256::hex_of(bytes);
  if (found != sha256) return corrupt("the stored file " + sha256 + " now hashes to " + found);
  return bytes;
}

Result<std::string> LocalArtifactStore::manifest(const std::string& digest) const {
  RETURN_IF_ERROR(check_digest(digest));
  if (!exists(digest)) return missing_artifact(digest);
  return read_blob(digest);
}

Result<v1::ArtifactFile> LocalArtifactStore::find_file(const std::string& digest, const std::string& name) const {
  ASSIGN_OR_RETURN(std::string bytes, manifest(digest));
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, check_manifest(digest, bytes));
  return file_of(parsed, digest, name);
}

Result<std::string> LocalArtifactStore::read(const std::string& digest, const std::string& name) const {
  ASSIGN_OR_RETURN(v1::ArtifactFile file, find_file(digest, name));
  return read_blob(file.sha256());
}

Result<std::optional<fs::path>> LocalArtifactStore::path(const std::string& digest, const std::string& name) const {
  ASSIGN_OR_RETURN(v1::ArtifactFile file, find_file(digest, name));
  return std::optional<fs::path>(blob_path(file.sha256()));
}

Status LocalArtifactStore::pin(const std::string& digest, const std::string& by) {
  RETURN_IF_ERROR(check_pin(by));
  RETURN_IF_ERROR(check_digest(digest));
  std::lock_guard lock(mutex_);
  if (!exists(digest)) return missing_artifact(digest);
  fs::path folder = root_ / "pins" / digest;
  RETURN_IF_ERROR(make_directories(folder));
  CRASH_POINT("artifact.pin.before_write");
  RETURN_IF_ERROR(write_file_durably(folder / keys::escape(by), ""));
  CRASH_POINT("artifact.pin.after_write");
  return sync_directory(root_ / "pins");
}

Status LocalArtifactStore::unpin(const std::string& digest, const std::string& by) {
  RETURN_IF_ERROR(check_pin(by));
  RETURN_IF_ERROR(check_digest(digest));
  fs::path folder = root_ / "pins" / digest;
  fs::path file = folder / keys::escape(by);
  if (::unlink(file.c_str()) != 0) {
    if (errno == ENOENT) return Status::ok();
    return errno_status("remove " + file.string(), errno);
  }
  return sync_directory(folder);
}

Result<std::set<std::string>> LocalArtifactStore::pins(const std::string& digest) const {
  RETURN_IF_ERROR(check_digest(digest));
  std::set<std::string> names;
  if (holds_ > 0) names.insert("backup");
  std::error_code error;
  for (const fs::directory_entry& item : fs::directory_iterator(root_ / "pins" / digest, error)) {
    names.insert(keys::unescape(item.path().filename().string()));
  }
  if (error && error.value() != ENOENT) return errno_status("list the pins of " + digest, error.value());
  return names;
}

// ---- MemoryArtifactStore ----

class MemoryArtifactStore::FileWriter final : public ArtifactWriter {
 public:
  FileWriter(MemoryArtifactStore& store, Announced announced) : store_(store), announced_(std::move(announced)) {}

  Status append(std::string_view bytes) override {
    RETURN_IF_ERROR(announced_.add(bytes));
    bytes_ += bytes;
    return Status::ok();
  }
  Status finish() override {
    RETURN_IF_ERROR(announced_.finish());
    std::lock_guard lock(store_.mutex_);
    store_.blobs_[announced_.sha256()] = std::move(bytes_);
    store_.touched_[announced_.sha256()] = store_.now();
    return Status::ok();
  }

 private:
  MemoryArtifactStore& store_;
  Announced announced_;
  std::string bytes_;
};

Result<std::unique_ptr<ArtifactWriter>> MemoryArtifactStore::put_file(const std::string& sha256,
                                                                      std::optional<uint64_t> size) {
  RETURN_IF_ERROR(check_digest(sha256));
  return std::unique_ptr<ArtifactWriter>(new FileWriter(*this, Announced(sha256, size)));
}

bool MemoryArtifactStore::has_file(const std::string& sha256) const {
  std::lock_guard lock(mutex_);
  return blobs_.contains(sha256);
}

Result<v1::ArtifactManifest> MemoryArtifactStore::seal(const std::string& digest, const std::string& manifest) {
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, check_manifest(digest, manifest));
  std::lock_guard lock(mutex_);
  for (const v1::ArtifactFile& file : parsed.files()) {
    auto blob = blobs_.find(file.sha256());
    if (blob == blobs_.end()) return file_missing(file);
    if (blob->second.size() != file.size()) return file_wrong_size(file, blob->second.size());
  }
  blobs_[digest] = manifest;
  sealed_.try_emplace(digest, now());
  return parsed;
}

bool MemoryArtifactStore::touch_file(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  if (!blobs_.contains(sha256)) return false;
  touched_[sha256] = now();
  return true;
}

Result<std::vector<SealedArtifact>> MemoryArtifactStore::sealed() const {
  std::lock_guard lock(mutex_);
  std::vector<SealedArtifact> all;
  for (const auto& [digest, time] : sealed_) all.push_back({digest, time});
  return all;
}

Status MemoryArtifactStore::remove(const std::string& digest, const std::function<bool(const std::string&)>& may_drop) {
  RETURN_IF_ERROR(check_digest(digest));
  std::lock_guard lock(mutex_);
  for (const auto& by : pins_[digest]) {
    if (!may_drop(by)) return conflict("artifact " + digest + " is pinned by " + by);
  }
  pins_.erase(digest);
  sealed_.erase(digest);
  return Status::ok();
}

Result<StrayFiles> MemoryArtifactStore::sweep(size_t part, Time before, bool dry_run) {
  StrayFiles strays;
  if (part != 0) return strays;
  std::lock_guard lock(mutex_);
  std::set<std::string> wanted;
  for (const auto& [digest, time] : sealed_) {
    wanted.insert(digest);
    ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, check_manifest(digest, blobs_.at(digest)));
    for (const auto& file : parsed.files()) wanted.insert(file.sha256());
  }
  for (auto blob = blobs_.begin(); blob != blobs_.end();) {
    const bool is_stray = !wanted.contains(blob->first) && touched_[blob->first] < before;
    if (is_stray) {
      ++strays.files;
      strays.bytes += blob->second.size();
    }
    blob = is_stray && !dry_run ? blobs_.erase(blob) : std::next(blob);
  }
  return strays;
}

bool MemoryArtifactStore::exists(const std::string& digest) const {
  std::lock_guard lock(mutex_);
  return sealed_.contains(digest);
}

Result<std::string> MemoryArtifactStore::manifest(const std::string& digest) const {
  RETURN_IF_ERROR(check_digest(digest));
  std::lock_guard lock(mutex_);
  if (!sealed_.contains(digest)) return missing_artifact(digest);
  return blobs_.at(digest);
}

Result<std::string> MemoryArtifactStore::read(const std::string& digest, const std::string& name) const {
  ASSIGN_OR_RETURN(std::string bytes, manifest(digest));
  ASSIGN_OR_RETURN(v1::ArtifactManifest parsed, check_manifest(digest, bytes));
  ASSIGN_OR_RETURN(v1::ArtifactFile file, file_of(parsed, digest, name));
  std::lock_guard lock(mutex_);
  return blobs_.at(file.sha256());
}

Result<std::optional<fs::path>> MemoryArtifactStore::path(const std::string& digest, const std::string& name) const {
  RETURN_IF_ERROR(read(digest, name).status());
  return std::optional<fs::path>();
}

Status MemoryArtifactStore::pin(const std::string& digest, const std::string& by) {
  RETURN_IF_ERROR(check_pin(by));
  RETURN_IF_ERROR(check_digest(digest));
  std::lock_guard lock(mutex_);
  if (!sealed_.contains(digest)) return missing_artifact(digest);
  pins_[digest].insert(by);
  return Status::ok();
}

Status MemoryArtifactStore::unpin(const std::string& digest, const std::string& by) {
  RETURN_IF_ERROR(check_pin(by));
  RETURN_IF_ERROR(check_digest(digest));
  std::lock_guard lock(mutex_);
  pins_[digest].erase(by);
  return Status::ok();
}

Result<std::set<std::string>> MemoryArtifactStore::pins(const std::string& digest) const {
  RETURN_IF_ERROR(check_digest(digest));
  std::lock_guard lock(mutex_);
  auto found = pins_.find(digest);
  return found == pins_.end() ? std::set<std::string>() : found->second;
}

}  // namespace freshet
