#include "worker/checkpoint/checkpointer.h"

#include <algorithm>
#include <cstdio>
#include <new>
#include <set>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/json.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/shard.h"

namespace freshet::worker {
namespace {

// With both moments 192 MiB a file: few files, and a reader holds little at a time.
constexpr size_t kShardElements = size_t{1} << 24;
constexpr uint64_t kNone = UINT64_MAX;

std::string name_of(uint64_t step) { return "the checkpoint of step " + std::to_string(step); }

}  // namespace

// What the ranks tell each other after each step.
struct Checkpointer::Note {
  enum State : uint32_t { kAtWork, kDone, kFailed };
  uint32_t state = kAtWork;
  uint32_t is_due = 0;  // rank 0's clock decides for all
  double seconds = 0;
};

Checkpointer::Checkpointer(CheckpointOptions options, std::vector<TensorView> tensors, Communicator* comm,
                           std::function<void(const SealedCheckpoint&)> on_sealed)
    : options_(std::move(options)),
      tensors_(std::move(tensors)),
      comm_(*comm),
      on_sealed_(std::move(on_sealed)),
      directory_(options_.directory, options_.epoch),
      begun_at_(clock_.monotonic()) {}

void Checkpointer::wait_until_copied() {
  if (copied_.load(std::memory_order_acquire)) return;
  Time start = clock_.monotonic();
  copied_.wait(false, std::memory_order_acquire);
  stall_seconds_ += (clock_.monotonic() - start).to_seconds();
}

v1::CheckpointInfo Checkpointer::info_of(const Progress& progress) const {
  v1::CheckpointInfo info = options_.training;
  info.set_step(progress.step);
  info.set_epoch(progress.pass);
  info.set_cursor(progress.cursor);
  for (uint64_t step : progress.skipped) info.add_skipped_steps(step);
  for (double loss : progress.recent_losses) info.add_recent_losses(loss);
  return info;
}

Status Checkpointer::after_step(const Progress& progress, const TrainingMemory& memory, bool last) {
  bool by_time = options_.every.us > 0 && clock_.monotonic() - begun_at_ >= options_.every;
  RETURN_IF_ERROR(advance(by_time));
  if (options_.every_steps > 0 && progress.step % options_.every_steps == 0) overdue_ = true;
  if (overdue_ && !last && phase_ == Phase::kNone) begin(progress, memory);
  return Status::ok();
}

void Checkpointer::begin(const Progress& progress, const TrainingMemory& memory) {
  Time start = clock_.monotonic();
  overdue_ = false;
  begun_at_ = start;
  phase_ = Phase::kWriting;
  pending_ = info_of(progress);
  copied_.store(false, std::memory_order_relaxed);
  background_.start(
      [this, step = progress.step, memory](const std::atomic<bool>& stop) { return write(step, memory, stop); });
  stall_seconds_ = (clock_.monotonic() - start).to_seconds();
}

Status Checkpointer::copy(const TrainingMemory& memory) {
  Status status;
  try {
    auto own = memory.parameters.subspan(memory.segment.begin, memory.segment.size());
    parameters_.assign(own.begin(), own.end());
    m_.assign(memory.m.begin(), memory.m.end());
    v_.assign(memory.v.begin(), memory.v.end());
  } catch (const std::bad_alloc&) {
    status = resource_exhausted("there is no memory for a copy of parameters and moments");
  }
  copied_.store(true, std::memory_order_release);
  copied_.notify_all();
  return status;
}

Status Checkpointer::write(uint64_t step, const TrainingMemory& memory, const std::atomic<bool>& stop) {
  Time start = clock_.monotonic();
  Range segment = memory.segment;
  RETURN_IF_ERROR(copy(memory));
  CRASH_POINT("snapshot.copy.after");

  RETURN_IF_ERROR(make_directories(directory_.unfinished_path(step)));
  std::vector<v1::ArtifactFile> files;
  for (size_t begin = segment.begin; begin < segment.end;) {
    // Borders are multiples of the same size for any number of ranks, but for those of the segments.
    size_t end = std::min((begin / kShardElements + 1) * kShardElements, segment.end);
    size_t at = begin - segment.begin;
    ASSIGN_OR_RETURN(auto file, write_shard(directory_.unfinished_path(step), tensors_,
                                            {{begin, end}, &parameters_[at], &m_[at], &v_[at]}, stop));
    files.push_back(std::move(file));
    begin = end;
  }
  RETURN_IF_ERROR(directory_.note_files(step, comm_.rank(), files));
  write_seconds_ = (clock_.monotonic() - start).to_seconds();
  return Status::ok();
}

Status Checkpointer::seal(const v1::CheckpointInfo& info) {
  Time start = clock_.monotonic();
  RETURN_IF_ERROR(know_numerics());
  v1::CheckpointInfo complete = info;
  *complete.mutable_numerics() = *numerics_;
  ASSIGN_OR_RETURN(bytes_, directory_.seal(info.step(), comm_.size(), complete));
  seal_seconds_ = (clock_.monotonic() - start).to_seconds();
  if (Status removed = directory_.remove_older(options_.kept); !removed.is_ok()) {
    log_warning("checkpoint", "older ones could not be removed: " + removed.message());
  }
  return Status::ok();
}

// Reads the whole program, so it is put off until there is something to write it into or compare it with.
Status Checkpointer::know_numerics() {
  if (numerics_) return Status::ok();
  ASSIGN_OR_RETURN(numerics_, numerics_fingerprint());
  return Status::ok();
}

// The only exchange: everything that all ranks must decide alike is decided on the notes of all.
Status Checkpointer::advance(bool is_due) {
  Note mine;
  mine.is_due = comm_.rank() == 0 && is_due ? 1 : 0;
  Status failure;
  bool at_work = phase_ == Phase::kWriting || (phase_ == Phase::kSealing && comm_.rank() == 0);
  if (at_work && background_.is_done()) {
    failure = background_.wait();
    mine.state = failure.is_ok() ? Note::kDone : Note::kFailed;
    mine.seconds = phase_ == Phase::kWriting ? write_seconds_ : seal_seconds_;
  }
  std::vector<Note> notes(static_cast<size_t>(comm_.size()));
  std::vector<MutableBytes> all;
  for (auto& note : notes) all.push_back(std::as_writable_bytes(std::span(&note, 1)));
  RETURN_IF_ERROR(comm_.all_gather(std::as_bytes(std::span<const Note>(&mine, 1)), all));
  if (notes[0].is_due != 0) overdue_ = true;
  if (!failure.is_ok()) {
    log_warning("checkpoint",
                name_of(pending_.step()) + " could not be written, training goes on without it: " + failure.message());
  }
  settle(notes);
  return Status::ok();
}

void Checkpointer::settle(const std::vector<Note>& notes) {
  if (phase_ == Phase::kNone) return;
  // While rank 0 seals, the others have nothing to do.
  auto relevant = std::span(notes).first(phase_ == Phase::kWriting ? notes.size() : 1);
  if (std::any_of(relevant.begin(), relevant.end(), [](const Note& n) { return n.state == Note::kAtWork; })) return;
  bool failed = std::any_of(relevant.begin(), relevant.end(), [](const Note& n) { return n.state == Note::kFailed; });
  if (failed) {
    phase_ = Phase::kNone;
    if (comm_.rank() != 0) return;
    if (Status removed = directory_.remove_unfinished(pending_.step()); !removed.is_ok()) {
      log_warning("checkpoint", removed.message());
    }
    return;
  }
  if (phase_ == Phase::kWriting) {
    phase_ = Phase::kSealing;
    for (const auto& note : notes) write_seconds_ = std::max(write_seconds_, note.seconds);
    if (comm_.rank() == 0) background_.start([this, info = pending_](const std::atomic<bool>&) { return seal(info); });
    return;
  }
  phase_ = Phase::kNone;
  if (comm_.rank() != 0) return;
  SealedCheckpoint sealed{pending_.step(), bytes_, write_seconds_ + seal_seconds_, stall_seconds_};
  char text[160];
  std::snprintf(text, sizeof text, "step %llu sealed: %.3f MB in %.3f s (%.2f GB/s), training stood for %.3f ms",
                static_cast<unsigned long long>(sealed.step), static_cast<double>(sealed.bytes) / 1e6, sealed.seconds,
                static_cast<double>(sealed.bytes) / 1e9 / std::max(sealed.seconds, 1e-9), 1e3 * sealed.stall_seconds);
  log_info("checkpoint", text);
  if (on_sealed_) on_sealed_(sealed);
}

Status Checkpointer::finish() {
  overdue_ = false;
  while (phase_ != Phase::kNone) {
    [[maybe_unused]] Status told_by_advance = background_.wait();
    RETURN_IF_ERROR(advance(false));
    overdue_ = false;
  }
  return Status::ok();
}

Result<std::optional<Progress>> Checkpointer::restore(const TrainingMemory& memory) {
  RETURN_IF_ERROR(finish());
  Status prepared = comm_.rank() == 0 ? directory_.remove_all_unfinished() : Status::ok();
  RETURN_IF_ERROR(comm_.agree(prepared));
  std::set<uint64_t> tried;
  while (true) {
    uint64_t step = kNone;
    Status listed;
    if (comm_.rank() == 0) {
      auto steps = directory_.sealed();
      listed = steps.status();
      if (steps.is_ok()) std::erase_if(*steps, [&](uint64_t s) { return tried.contains(s); });
      if (steps.is_ok() && !steps->empty()) step = steps->back();
    }
    RETURN_IF_ERROR(comm_.agree(listed));
    RETURN_IF_ERROR(comm_.broadcast(std::as_writable_bytes(std::span(&step, 1))));
    if (step == kNone) return std::optional<Progress>();
    tried.insert(step);
    Progress progress;
    bool touched = false;
    Status loaded = comm_.agree(load(step, memory, &progress, &touched));
    if (loaded.is_ok()) return std::optional<Progress>(std::move(progress));
    if (comm_.rank() == 0) {
      log_warning("checkpoint", name_of(step) + " is not used, looking for an older one: " + loaded.message());
      bool is_bad = loaded.code() == Code::kCorrupt || loaded.code() == Code::kConflict;
      Status removed = is_bad ? directory_.remove_sealed(step) : Status::ok();
      if (!removed.is_ok()) log_warning("checkpoint", removed.message());
    }
    // Its files are what the manifest says, so this is no damage of the disk; the memory may be a mixture by now.
    if (touched) return loaded.with_context(name_of(step));
  }
}

Status Checkpointer::load(uint64_t step, const TrainingMemory& memory, Progress* progress, bool* touched) {
  auto directory = directory_.sealed_path(step);
  auto manifest = verify_checkpoint(directory, static_cast<size_t>(comm_.rank()), static_cast<size_t>(comm_.size()));
  Status usable = manifest.status();
  if (usable.is_ok()) usable = know_numerics();
  if (usable.is_ok()) {
    const auto& found = manifest->checkpoint();
    v1::CheckpointInfo expected = options_.training;
    *expected.mutable_numerics() = *numerics_;
    v1::CheckpointInfo common = found;
    common.clear_step();
    common.clear_epoch();
    common.clear_cursor();
    common.clear_skipped_steps();
    common.clear_recent_losses();
    if (to_canonical_json(common) != to_canonical_json(expected) || found.step() != step) {
      usable = conflict(directory.string() +
                        " is of another training (data, recipe, seed, engine or machine differ), or of another step");
    }
  }
  RETURN_IF_ERROR(comm_.agree(usable));
  *touched = true;
  const auto& info = manifest->checkpoint();
  progress->step = info.step();
  progress->pass = info.epoch();
  progress->cursor = info.cursor();
  progress->skipped.assign(info.skipped_steps().begin(), info.skipped_steps().end());
  progress->recent_losses.assign(info.recent_losses().begin(), info.recent_losses().end());
  ShardTarget target(tensors_, memory.parameters.data(), memory.segment, memory.m.data(), memory.v.data());
  for (const auto& file : manifest->files()) RETURN_IF_ERROR(target.read(directory / file.name()));
  return target.check_complete();
}

}  // namespace freshet::worker
