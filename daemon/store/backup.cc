#include "daemon/store/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include "base/file.h"
#include "daemon/store/audit.h"
#include "daemon/store/backup_files.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"
#include "proto/record.pb.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPage = 1000;
constexpr int kTries = 5;

// What a backup says about its records, and what a restored store must say again.
struct Contents {
  v1::BackupManifest facts;  // without its files
  std::vector<v1::ArtifactRecord> artifacts;
};

Result<uint64_t> count_records(const KvSnapshot& snapshot) {
  std::string after;
  for (uint64_t count = 0;;) {
    ASSIGN_OR_RETURN(auto page, snapshot.scan("", after, kPage, false));
    count += page.size();
    if (page.size() < kPage) return count;
    after = page.back().key;
  }
}

Result<Contents> read_contents(Kv& kv, const Clock& clock) {
  Contents contents;
  ASSIGN_OR_RETURN(uint64_t records, count_records(*kv.snapshot()));
  contents.facts.set_records(records);
  Writer store(kv, clock);
  auto snapshot = store.snapshot();
  RETURN_IF_ERROR(verify_audit(*snapshot));
  ASSIGN_OR_RETURN(auto last, get<v1::LastCommit>(*snapshot, keys::last_commit()));
  if (last) {
    contents.facts.set_revision(last->value.revision());
    contents.facts.set_commit_us(last->value.commit_us());
    contents.facts.set_audit_digest(last->value.audit_digest());
  }
  ASSIGN_OR_RETURN(auto term, get<v1::DaemonTerm>(*snapshot, keys::daemon_term()));
  if (term) contents.facts.set_term(term->value.term());
  ASSIGN_OR_RETURN(auto artifacts, list<v1::ArtifactRecord>(*snapshot, keys::artifacts()));
  for (auto& artifact : artifacts) {
    // Of one that is being removed the files may be gone, and nothing refers to it: that ends where it is restored.
    if (artifact.value.state() == v1::ArtifactRecord::REMOVING) continue;
    contents.artifacts.push_back(std::move(artifact.value));
  }
  contents.facts.set_artifacts(contents.artifacts.size());
  return contents;
}

// The files in which the artifacts lie, relative to the data directory, each once.
std::vector<fs::path> files_of(const std::vector<v1::ArtifactRecord>& artifacts, uint64_t* bytes) {
  std::set<std::string> blobs;
  std::vector<fs::path> files;
  auto add = [&](const std::string& sha256, uint64_t size) {
    if (!blobs.insert(sha256).second) return;
    files.push_back(fs::path("artifacts/blobs") / sha256.substr(0, 2) / sha256);
    *bytes += size;
  };
  for (const auto& artifact : artifacts) {
    add(artifact.digest(), 0);
    for (const auto& file : artifact.manifest().files()) add(file.sha256(), file.size());
    files.push_back(fs::path("artifacts/sealed") / artifact.digest());
  }
  return files;
}

void add_file(v1::BackupManifest* manifest, const fs::path& path, const FileDigest& digest) {
  auto* file = manifest->add_files();
  file->set_path(path.string());
  file->set_size(digest.size);
  file->set_sha256(digest.sha256);
}

// The checkpoint's files are synced here, since what RocksDB copied may not be.
Status add_store_files(const fs::path& directory, v1::BackupManifest* manifest) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(directory / "store/db", error)) paths.push_back(item.path());
  if (error) return errno_status("list " + (directory / "store/db").string(), error.value());
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.is_open() || ::fsync(fd.get()) != 0) return errno_status("fsync " + path.string(), errno);
    ASSIGN_OR_RETURN(FileDigest digest, digest_file(path));
    add_file(manifest, fs::path("store/db") / path.filename(), digest);
  }
  return Status::ok();
}

// kNotFound: an artifact was collected between the checkpoint and its copy; a newer checkpoint doesn't name it.
Result<v1::BackupManifest> write_once(RocksKv& kv, LocalArtifactStore& artifacts, const BackupOptions& options) {
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::begin(options.directory));
  RETURN_IF_ERROR(make_directories(staged.path() / "store"));
  RETURN_IF_ERROR(kv.checkpoint(staged.path() / "store/db"));
  Contents contents;
  {
    ASSIGN_OR_RETURN(auto copy, RocksKv::open_read_only(staged.path() / "store"));
    ASSIGN_OR_RETURN(contents, read_contents(*copy, *options.clock));
  }
  v1::BackupManifest manifest = contents.facts;
  manifest.set_version(options.version);
  manifest.set_created_us(options.clock->now().us);
  RETURN_IF_ERROR(add_store_files(staged.path(), &manifest));

  BackupProgress progress;
  const std::vector<fs::path> files = files_of(contents.artifacts, &progress.bytes);
  progress.files = files.size();
  for (const fs::path& file : files) {
    if (options.progress) RETURN_IF_ERROR(options.progress(progress));
    const fs::path from = artifacts.root().parent_path() / file;
    ASSIGN_OR_RETURN(FileDigest digest, link_or_copy(from, staged.path() / file));
    if (file.parent_path().filename() != "sealed" && digest.sha256 != file.filename()) {
      return corrupt("the stored file " + from.string() + " now hashes to " + digest.sha256);
    }
    ++progress.files_done;
    progress.bytes_done += digest.size;
    add_file(&manifest, file, digest);
  }
  RETURN_IF_ERROR(write_manifest(staged.path(), manifest));
  RETURN_IF_ERROR(staged.finish());
  if (options.progress) (void)options.progress(progress);  // there is nothing left to end
  return manifest;
}

bool stays_inside(const std::string& path) {
  const fs::path parsed(path);
  if (path.empty() || parsed.is_absolute()) return false;
  return std::none_of(parsed.begin(), parsed.end(), [](const fs::path& part) { return part == ".." || part == "."; });
}

Status check_file(const fs::path& path, const v1::BackupFile& expected, const Result<FileDigest>& found) {
  if (!found.is_ok() && found.status().code() == Code::kNotFound) return corrupt(path.string() + " is missing");
  RETURN_IF_ERROR(found.status());
  if (found->size == expected.size() && found->sha256 == expected.sha256()) return Status::ok();
  return corrupt(path.string() + " is damaged: it is not what was written");
}

Status check_restored(const v1::BackupManifest& manifest, Kv& kv, const LocalArtifactStore& artifacts,
                      const Clock& clock) {
  ASSIGN_OR_RETURN(Contents contents, read_contents(kv, clock));
  if (contents.facts.revision() != manifest.revision() || contents.facts.records() != manifest.records() ||
      contents.facts.audit_digest() != manifest.audit_digest()) {
    return corrupt("the restored store is at revision " + std::to_string(contents.facts.revision()) + " with " +
                   std::to_string(contents.facts.records()) + " records; the backup was made at revision " +
                   std::to_string(manifest.revision()) + " with " + std::to_string(manifest.records()));
  }
  for (const auto& artifact : contents.artifacts) {
    RETURN_IF_ERROR(artifacts.manifest(artifact.digest()).status());
    for (const auto& file : artifact.manifest().files()) {
      if (!artifacts.has_file(file.sha256())) {
        return corrupt("artifact " + artifact.digest() + " is without its file " + file.name());
      }
    }
  }
  return Status::ok();
}

}  // namespace

Status check_backup_target(const fs::path& directory) { return StagedDirectory::check(directory); }

Result<v1::BackupManifest> write_backup(RocksKv& kv, LocalArtifactStore& artifacts, const BackupOptions& options) {
  const LocalArtifactStore::Hold hold(artifacts);
  for (int tries = 1;; ++tries) {
    auto written = write_once(kv, artifacts, options);
    if (written.is_ok() || written.status().code() != Code::kNotFound || tries == kTries) return written;
  }
}

Result<v1::BackupManifest> verify_backup(const fs::path& directory) {
  ASSIGN_OR_RETURN(v1::BackupManifest manifest, read_manifest(directory));
  for (const auto& file : manifest.files()) {
    if (!stays_inside(file.path())) return corrupt("the manifest names " + file.path() + ", outside of the backup");
    RETURN_IF_ERROR(check_file(directory / file.path(), file, digest_file(directory / file.path())));
  }
  return manifest;
}

Result<v1::BackupManifest> restore_backup(const fs::path& directory, const fs::path& data_dir, const Clock& clock,
                                          const std::function<Status(Store&, const v1::BackupManifest&)>& finish) {
  ASSIGN_OR_RETURN(v1::BackupManifest manifest, read_manifest(directory));
  ASSIGN_OR_RETURN(StagedDirectory staged, StagedDirectory::begin(data_dir));
  for (const auto& file : manifest.files()) {
    if (!stays_inside(file.path())) return corrupt("the manifest names " + file.path() + ", outside of the backup");
    // What was read is what is written: each file is verified as it is copied.
    auto copied = copy_file_durably(directory / file.path(), staged.path() / file.path());
    RETURN_IF_ERROR(check_file(directory / file.path(), file, copied));
  }
  {
    ASSIGN_OR_RETURN(auto kv, RocksKv::open({.data_directory = staged.path() / "store", .ballast_bytes = 0}));
    ASSIGN_OR_RETURN(auto artifacts, LocalArtifactStore::open(staged.path() / "artifacts"));
    RETURN_IF_ERROR(check_restored(manifest, *kv, *artifacts, clock));
    Writer store(*kv, clock);
    RETURN_IF_ERROR(finish(store, manifest));
  }
  RETURN_IF_ERROR(staged.finish());
  return manifest;
}

}  // namespace freshet
