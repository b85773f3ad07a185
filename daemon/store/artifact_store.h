// ArtifactStore: the bytes that records refer to by digest (checkpoints, reports), apart from the records. An artifact
// is a manifest and the files it lists; its digest is the SHA-256 of the manifest's bytes. Files are put first, then
// seal() makes the artifact exist; both are idempotent, and nothing is ever changed in place. Any thread; may block.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/status.h"
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

class ArtifactStore {
 public:
  virtual ~ArtifactStore() = default;

  // Starts a file with this content digest; `size` is checked where given.
  virtual Result<std::unique_ptr<ArtifactWriter>> put_file(const std::string& sha256,
                                                           std::optional<uint64_t> size = std::nullopt) = 0;
  virtual bool has_file(const std::string& sha256) const = 0;

  // Makes the artifact exist. The bytes must hash to `digest`, parse as an ArtifactManifest with acceptable names, and
  // every file it lists must be here with its size: else kInvalidArgument, naming the first that is wrong or missing.
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
    explicit Hold(LocalArtifactStore& store) : store_(store) { ++store_.holds_; }
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
  Result<v1::ArtifactManifest> seal(const std::string& digest, const std::string& manifest) override;
  bool exists(const std::string& digest) const override;
  Result<std::string> manifest(const std::string& digest) const override;
  Result<std::string> read(const std::string& digest, const std::string& name) const override;
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const override;
  Status pin(const std::string& digest, const std::string& by) override;
  Status unpin(const std::string& digest, const std::string& by) override;
  Result<std::set<std::string>> pins(const std::string& digest) const override;

 private:
  explicit LocalArtifactStore(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path blob_path(const std::string& sha256) const;
  std::filesystem::path sealed_path(const std::string& digest) const { return root_ / "sealed" / digest; }
  Result<std::string> read_blob(const std::string& sha256) const;
  Result<v1::ArtifactFile> find_file(const std::string& digest, const std::string& name) const;

  std::filesystem::path root_;
  std::atomic<int> holds_ = 0;
};

// For tests and the simulator.
class MemoryArtifactStore final : public ArtifactStore {
 public:
  Result<std::unique_ptr<ArtifactWriter>> put_file(const std::string& sha256,
                                                   std::optional<uint64_t> size = std::nullopt) override;
  bool has_file(const std::string& sha256) const override;
  Result<v1::ArtifactManifest> seal(const std::string& digest, const std::string& manifest) override;
  bool exists(const std::string& digest) const override;
  Result<std::string> manifest(const std::string& digest) const override;
  Result<std::string> read(const std::string& digest, const std::string& name) const override;
  Result<std::optional<std::filesystem::path>> path(const std::string& digest, const std::string& name) const override;
  Status pin(const std::string& digest, const std::string& by) override;
  Status unpin(const std::string& digest, const std::string& by) override;
  Result<std::set<std::string>> pins(const std::string& digest) const override;

 private:
  class FileWriter;
  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, std::string> blobs_;
  std::set<std::string> sealed_;
  std::map<std::string, std::set<std::string>> pins_;
};

// put_file() of bytes at hand.
Status put_bytes(ArtifactStore& store, std::string_view bytes);

}  // namespace freshet
