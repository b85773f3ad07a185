// The checkpoints of one training on one node: "step-000000000120" is sealed, "step-000000000120.tmp.3" is being
// written by the attempt of epoch 3 or was left by it. All ranks of a gang see the same directory: each writes its
// shards and a note of them, and rank 0 seals. A gang that was fenced may still write here for a while; as a step of
// one training has the same bits whoever made it, that does no harm. Blocking; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

class CheckpointDirectory {
 public:
  CheckpointDirectory(std::filesystem::path path, uint64_t epoch) : path_(std::move(path)), epoch_(epoch) {}

  // Steps with a sealed checkpoint, ascending; none when there is no directory.
  Result<std::vector<uint64_t>> sealed() const;
  std::filesystem::path sealed_path(uint64_t step) const;
  std::filesystem::path unfinished_path(uint64_t step) const;

  // A rank has written these files to unfinished_path(step).
  Status note_files(uint64_t step, int rank, const std::vector<v1::ArtifactFile>& files) const;
  // Once all ranks have noted theirs: manifest last, synced, renamed, parent synced. Returns the bytes of all files. A
  // checkpoint of that step which is there already stays.
  Result<uint64_t> seal(uint64_t step, int ranks, const v1::CheckpointInfo& info) const;
  // All but the newest `kept`.
  Status remove_older(size_t kept) const;
  Status remove_sealed(uint64_t step) const;
  Status remove_unfinished(uint64_t step) const;
  // What this attempt's epoch and those before it left.
  Status remove_all_unfinished() const;

 private:
  std::filesystem::path path_;
  uint64_t epoch_;
};

// The manifest alone; kCorrupt when it is not what was written.
Result<v1::ArtifactManifest> read_checkpoint(const std::filesystem::path& directory);

// Reads and compares with the manifest those files whose number is `part` modulo `parts`, so that ranks can share the
// work; on the threads of `pool`. kCorrupt names the file.
Result<v1::ArtifactManifest> verify_checkpoint(const std::filesystem::path& directory, size_t part, size_t parts,
                                               ThreadPool* pool);

}  // namespace freshet::worker
