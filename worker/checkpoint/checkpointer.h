// Checkpoints beside a training. When one is due, a thread of each rank copies the rank's segment while the next step
// is computed (only the optimizer changes it, and waits for the copy), or waits for the copy that is made of a device's
// memory; then it writes it and syncs it; rank 0 seals once all
// ranks have said, after some later step, that theirs is on disk. At most one is under way; one that falls due
// meanwhile is made as soon as that one is sealed. What fails costs that checkpoint, not the training. All ranks make
// the same calls, on the thread that owns the Communicator; nothing that reaches the weights passes through here but
// what restore() brings back. Where a place in memory is named, each checkpoint is sealed there first, for ranks that
// die while the machine lives, and then on disk; one that has no room in memory is on disk only, as are those after it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "proto/artifact.pb.h"
#include "worker/checkpoint/background.h"
#include "worker/checkpoint/checkpoint_directory.h"
#include "worker/checkpoint/shard.h"
#include "worker/checkpoint/tensors.h"
#include "worker/checkpoint/training_state.h"
#include "worker/comm/communicator.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {

struct CheckpointOptions {
  std::filesystem::path directory;  // the same for all ranks
  uint64_t epoch = 0;               // of the attempt
  uint64_t every_steps = 0;         // 0: not by steps
  Duration every{};                 // 0: not by time
  size_t kept = 2;                  // sealed ones that stay, the newest
  unsigned threads = 1;             // that copy, write, verify and read
  // The same in the node's memory (a tmpfs); empty: none.
  std::filesystem::path memory_directory;
  size_t kept_in_memory = 1;
  uint64_t memory_left = uint64_t{1} << 30;  // bytes that those in memory must leave free
  // What is true of the whole training: family, seed, training digest, numerics (without: the CPU's). Checkpoints that
  // say otherwise, or that were written by another engine, are of another training, and are removed.
  v1::CheckpointInfo training;
  // The table of matrix products that the training goes by (products_file.h); empty: none.
  std::string products;
};

// A checkpoint that has been sealed.
struct SealedCheckpoint {
  uint64_t step = 0;
  uint64_t bytes = 0;
  double seconds = 0;        // from the start of the copy to the last sync, without waiting for steps
  double stall_seconds = 0;  // in which this rank's training stood still
};

class Checkpointer {
 public:
  // `on_sealed`: on rank 0, from after_step() or finish().
  Checkpointer(CheckpointOptions options, std::vector<TensorView> tensors, Communicator* comm,
               std::function<void(const SealedCheckpoint&)> on_sealed);

  // By which table of matrix products the training went whose checkpoints are here, empty: by none; nullopt: there are
  // none of it. For an engine that is made before restore() can tell; `options` is of an engine without a table. Rank
  // 0.
  static Result<std::optional<std::string>> products_of(const CheckpointOptions& options);

  // Fills the memory from the newest sealed checkpoint of this training whose files are good. A damaged one is logged,
  // removed and passed over for an older one. Nothing is found: the memory is as it was.
  Result<std::optional<Progress>> restore(const TrainingMemory& memory);

  // Before the optimizer changes anything: returns when what is being copied has been copied.
  void wait_until_copied();

  // Once behind each step but the last of the training, before the next: whether begin() has to follow. The same on all
  // ranks. The step itself need not be over.
  Result<bool> is_due(uint64_t step);
  // Of the training after the step that is_due() was asked about.
  void begin(const Progress& progress, const TrainingSnapshot& training);

  // Brings the one under way to its end.
  Status finish();

 private:
  struct Note;
  // The own rows of a table.
  struct TableCopy {
    std::vector<float> values, sums;
  };
  // A place where checkpoints are sealed, one place after the other.
  struct Place {
    std::string name;
    CheckpointDirectory directory;
    size_t kept = 0;
  };
  // Found when the gang begins: the newest step, and of equal ones the first place.
  struct Candidate {
    uint64_t step = kNoStep;
    uint64_t place = 0;
    auto operator<=>(const Candidate&) const = default;
  };
  static constexpr uint64_t kNoStep = UINT64_MAX;
  static std::vector<Place> places_of(const CheckpointOptions& options);
  // Of the checkpoints that have not been tried.
  static Result<Candidate> newest(const std::vector<Place>& places, const std::set<Candidate>& tried);
  bool is_in_memory(size_t place) const { return place + 1 < places_.size(); }
  Status advance(bool is_due);
  void start_writing(const TrainingSnapshot* training);
  void copy_tables(const std::vector<TableMemory>& tables);
  void copy(const TrainingSnapshot& training);
  Status copy_segment(const TrainingSnapshot& training);
  Status write(const std::atomic<bool>& stop);
  uint64_t bytes_of_all_ranks() const;
  Status seal(const v1::CheckpointInfo& info);
  void settle(const std::vector<Note>& notes);
  Status load(const Candidate& candidate, const TrainingMemory& memory, Progress* progress, bool* touched);
  Status know_numerics();
  v1::CheckpointInfo info_of(const Progress& progress) const;

  const CheckpointOptions options_;
  const std::vector<TensorView> tensors_;
  Communicator& comm_;
  const std::function<void(const SealedCheckpoint&)> on_sealed_;
  const std::vector<Place> places_;  // the last is the disk
  SystemClock clock_;
  Time begun_at_;         // of the newest one, or of the training
  bool overdue_ = false;  // one is wanted as soon as none is under way; the same on all ranks

  enum class Phase { kNone, kWriting, kSealing };
  Phase phase_ = Phase::kNone;    // the same on all ranks
  size_t place_ = 0;              // where the one under way is written; the same on all ranks
  bool memory_is_short_ = false;  // the same on all ranks
  v1::CheckpointInfo pending_;
  double stall_seconds_ = 0, seconds_ = 0;
  std::atomic<bool> copied_{true};

  // Of the background thread while it is at work.
  Range segment_;  // among all tensors' elements
  Status copy_status_;
  ShardValues values_;  // of the segment: copied here, or what the training has copied by itself
  std::unique_ptr<float[]> copied_values_;
  size_t copied_size_ = 0;
  std::vector<TableMemory> tables_;  // likewise
  std::vector<TableCopy> copied_tables_;
  std::vector<std::byte> objective_;
  std::optional<v1::NumericsFingerprint> numerics_;
  double write_seconds_ = 0, seal_seconds_ = 0;  // in the place at hand
  uint64_t bytes_ = 0;

  ThreadPool pool_;        // of the background thread while it is at work, else of the caller's
  Background background_;  // last: its job uses all of the above
};

}  // namespace freshet::worker
