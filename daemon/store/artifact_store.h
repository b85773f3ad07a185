// ArtifactStore: the bytes that records refer to by digest (checkpoints, reports), apart from the records. An artifact
// is a manifest and the files it lists; its digest is the SHA-256 of the manifest's bytes. Files are put first, then
// seal() makes the artifact exist; both are idempotent, and nothing is ever changed in place. Any thread; may block.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "proto/artifact.pb.h"

namespace freshet {

// One file on its way in. Dropped without finish(), it leaves nothing.
class ArtifactWriter {
 public:
  virtual ~ArtifactWriter() = default;
  virtual Status append(std::string_view bytes) = 0;
  // Durable when ok. kInvalidArgument when the bytes are not those that were announced.
  virtual Status finish() = 0;
};

struct SealedArtifact {
  std::string digest;
  Time sealed;
};

struct StrayFiles {
  uint64_t files = 0;
  uint64_t bytes = 0;
};

class ArtifactStore {
 public:
  virtual ~ArtifactStore() = default;

  // Starts a file with this content digest; `size` is checked where given.
  virtual Result<std::unique_ptr<ArtifactWriter>> put_file(const std::string& sha256,
                                                           std::optional<uint64_t> size = std::nullopt) = 0;
  virtual bool has_file(const std::string& sha256) const = 0;
  // As has_file(); the file then counts as one just put, so that sweep() leaves it for the artifact to come.
  virtual bool touch_file(const std::string& sha256) = 0;

  // Makes the artifact exist. The bytes must hash to `digest`, parse as an ArtifactManifest with acceptable names, and
  // every file it lists must have its size: else kInvalidArgument, naming the first that is wrong. kConflict, naming
  // it: a file is not here; put it, also when it was here a while ago, and seal again.
  virtual Result<v1::ArtifactManifest> seal(const std::string& digest, const std::string& manifest) = 0;
  virtual bool exists(const std::string& digest) const = 0;

  // kNotFound: not sealed here, or no such file in it. kCorrupt: the bytes are not what was put.
  virtual Result<std::string> manifest(const std::string& digest) const = 0;
  virtual Result<std::string> read(const std::string& digest, const std::string& name) const = 0;
  // Where a file of the artifact lies, to be sent without reading it whole; nullopt where bytes are not files.
  virtual Result<std::optional<std::filesystem::path>> path(const std::string& digest,
                                                            const std::string& name) const = 0;

  // A pinned artifact is never collected; pins are counted by their names ("model flights/3"), durable and idempotent.
  virtual Status pin(const std::string& digest, const std::string& by) = 0;
  virtual Status unpin(const std::string& digest, const std::string& by) = 0;
  virtual Result<std::set<std::string>> pins(const std::string& digest) const = 0;

  // ---- for the garbage collector ----
  virtual Result<std::vector<SealedArtifact>> sealed() const = 0;
  // The artifact no longer exists, and its files are stray unless another one has them. Durable when ok, idempotent.
  // Drops the pins that `may_drop` accepts; kConflict, and nothing changed, when another pin holds it.
  virtual Status remove(const std::string& digest, const std::function<bool(const std::string& by)>& may_drop) = 0;
  // Looks through one of kSweepParts parts of the files for strays: files that no sealed artifact has and that were put
  // or touched before `before`. Removes them, unless it is a dry run.
  static constexpr size_t kSweepParts = 256;
  virtual Result<StrayFiles> sweep(size_t part, Time before, bool dry_run) = 0;
};

// Parses manifest bytes and checks what can be checked without the files: sorted unique names that stay inside the
// artifact ("a/b.bin", no "..", no leading '/', not "manifest.json"), digests that are digests.
Result<v1::ArtifactManifest> check_manifest(const std::string& digest, const std::string& manifest);

// One blob per file of its own: ROOT/blobs/ab/<sha256>, manifests as blobs too, ROOT/sealed/<digest>,
// ROOT/pins/<digest>/<name>. What is under ROOT/incoming when it opens is left over from a crash and is removed.
class LocalArtifactStore final : public ArtifactStore {
 public:
  static Result<std::unique_ptr<LocalArtifactStore>> open(std::filesystem::path root);

  // While one lives, every artifact counts as pinned (by "backup"): nothing may be collected. Nothing of it is on disk.
  class Hold {
   public:
    explicit Hold(LocalArtifactStore& store) : store_(store) {
      std::lock_guard lock(store_.mutex_);  // a removal that has begun is over first
      ++store_.holds_;
    }
    ~Hold() { --store_.holds_; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    LocalArtifactStore& store_;
  };

  const std::filesystem::path& root() const { return root_; }

  Result<std::unique_ptr<ArtifactWriter>> put_file(const std::string& sha256,
                                                   std::optional<uint64_t> size = std::nullopt) override;
  bool has_file(const std::string& sha256) const override;
  bool touch_file(const std::string& sha256) override;
  Result<v1::ArtifactManifest> seal(const std::string& digest, const std::string& manifest) override;
  bool exists(const std::string& digest) const override;
  Result<std::string> manifest(const std::string& digest) const override;
  Result<std::string> read(const std::string& digest, const std::string& name) const override;
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const override;
  Status pin(const std::string& digest, const std::string& by) override;
  Status unpin(const std::string& digest, const std::string& by) override;
  Result<std::set<std::string>> pins(const std::string& digest) const override;
  Result<std::vector<SealedArtifact>> sealed() const override;
  Status remove(const std::string& digest, const std::function<bool(const std::string&)>& may_drop) override;
  Result<StrayFiles> sweep(size_t part, Time before, bool dry_run) override;

 private:
  explicit LocalArtifactStore(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path blob_path(const std::string& sha256) const;
  std::filesystem::path sealed_path(const std::string& digest) const { return root_ / "sealed" / digest; }
  Result<std::string> read_blob(const std::string& sha256) const;
  Result<v1::ArtifactFile> find_file(const std::string& digest, const std::string& name) const;
  Status count_references();
  void add_references(const std::string& digest, const v1::ArtifactManifest& manifest, int by);

  std::filesystem::path root_;
  std::atomic<int> holds_ = 0;
  std::mutex mutex_;  // held while something is sealed, pinned, removed or swept, so that none overtakes another
  // How many sealed artifacts have each file, manifests included; filled by the first sweep or removal.
  std::optional<std::map<std::string, int>> references_;
};

// For tests and the simulator.
class MemoryArtifactStore final : public ArtifactStore {
 public:
  // Without a clock every file is as old as can be.
  explicit MemoryArtifactStore(const Clock* clock = nullptr) : clock_(clock) {}

  Result<std::unique_ptr<ArtifactWriter>> put_file(const std::string& sha256,
                                                   std::optional<uint64_t> size = std::nullopt) override;
  bool has_file(const std::string& sha256) const override;
  bool touch_file(const std::string& sha256) override;
  Result<v1::ArtifactManifest> seal(const std::string& digest, const std::string& manifest) override;
  bool exists(const std::string& digest) const override;
  Result<std::string> manifest(const std::string& digest) const override;
  Result<std::string> read(const std::string& digest, const std::string& name) const override;
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const override;
  Status pin(const std::string& digest, const std::string& by) override;
  Status unpin(const std::string& digest, const std::string& by) override;
  Result<std::set<std::string>> pins(const std::string& digest) const override;
  Result<std::vector<SealedArtifact>> sealed() const override;
  Status remove(const std::string& digest, const std::function<bool(const std::string&)>& may_drop) override;
  Result<StrayFiles> sweep(size_t part, Time before, bool dry_run) override;

 private:
  class FileWriter;
  Time now() const { return clock_ == nullptr ? Time{} : clock_->now(); }

  const Clock* const clock_;
  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, std::string> blobs_;
  std::map<std::string, Time> touched_;
  std::map<std::string, Time> sealed_;
  std::map<std::string, std::set<std::string>> pins_;
};

// put_file() of bytes at hand.
Status put_bytes(ArtifactStore& store, std::string_view bytes);

}  // namespace freshet
