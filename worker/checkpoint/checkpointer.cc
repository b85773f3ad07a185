#include "worker/checkpoint/checkpointer.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <new>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/digest.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/memory_room.h"
#include "worker/checkpoint/objective_file.h"
#include "worker/checkpoint/products_file.h"

namespace freshet::worker {
namespace {

// With both moments 192 MiB a file: few files, and a reader holds little at a time.
constexpr size_t kShardElements = size_t{1} << 24;
constexpr size_t kCopiedElements = size_t{1} << 20;  // at a time

// What a checkpoint says of the whole training, not of its step.
v1::CheckpointInfo training_of(v1::CheckpointInfo checkpoint) {
  checkpoint.clear_step();
  checkpoint.clear_epoch();
  checkpoint.clear_cursor();
  checkpoint.clear_skipped_steps();
  checkpoint.clear_recent_losses();
  return checkpoint;
}

std::string name_of(uint64_t step) { return "the checkpoint of step " + std::to_string(step); }

}  // namespace

// What the ranks tell each other after each step.
struct Checkpointer::Note {
  enum State : uint32_t { kAtWork, kDone, kFailed };
  uint32_t state = kAtWork;
  uint32_t is_due = 0;  // rank 0's clock decides for all
  double seconds = 0;
};

std::vector<Checkpointer::Place> Checkpointer::places_of(const CheckpointOptions& options) {
  std::vector<Place> places;
  if (!options.memory_directory.empty() && options.kept_in_memory > 0) {
    places.push_back({"in memory", {options.memory_directory, options.epoch}, options.kept_in_memory});
  }
  places.push_back({"on disk", {options.directory, options.epoch}, options.kept});
  return places;
}

Checkpointer::Checkpointer(CheckpointOptions options, std::vector<TensorView> tensors, Communicator* comm,
                           std::function<void(const SealedCheckpoint&)> on_sealed)
    : options_(std::move(options)),
      tensors_(std::move(tensors)),
      comm_(*comm),
      on_sealed_(std::move(on_sealed)),
      places_(places_of(options_)),
      begun_at_(clock_.monotonic()),
      // Twice as many: a writer waits for the disk about as long as it computes.
      pool_(2 * options_.threads) {}

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

Result<bool> Checkpointer::is_due(uint64_t step) {
  bool by_time = options_.every.us > 0 && clock_.monotonic() - begun_at_ >= options_.every;
  RETURN_IF_ERROR(advance(by_time));
  if (options_.every_steps > 0 && step % options_.every_steps == 0) overdue_ = true;
  return overdue_ && phase_ == Phase::kNone;
}

void Checkpointer::begin(const Progress& progress, const TrainingSnapshot& training) {
  Time start = clock_.monotonic();
  overdue_ = false;
  begun_at_ = start;
  pending_ = info_of(progress);
  seconds_ = 0;
  size_t tables = 0;  // elements, which are in front
  for (size_t t = 0; t < training.tables.size(); ++t) tables += tensors_[t].size;
  segment_ = {tables + training.segment.begin, tables + training.segment.end};
  place_ = memory_is_short_ ? places_.size() - 1 : 0;
  copied_.store(training.wait != nullptr, std::memory_order_relaxed);
  start_writing(&training);
  stall_seconds_ = (clock_.monotonic() - start).to_seconds();
}

// `training`: what is to be copied first; null when it has been.
void Checkpointer::start_writing(const TrainingSnapshot* training) {
  phase_ = Phase::kWriting;
  if (training == nullptr) {
    background_.start([this](const std::atomic<bool>& stop) { return write(stop); });
    return;
  }
  background_.start([this, training = *training](const std::atomic<bool>& stop) {
    copy(training);
    return write(stop);
  });
}

void Checkpointer::copy_tables(const std::vector<TableMemory>& tables) {
  tables_ = tables;
  copied_tables_.resize(tables.size());
  for (size_t t = 0; t < tables.size(); ++t) {
    TableCopy& copy = copied_tables_[t];
    copy.values.assign(tables[t].values.begin(), tables[t].values.end());
    copy.sums.assign(tables[t].sums.begin(), tables[t].sums.end());
    tables_[t].values = copy.values;
    tables_[t].sums = copy.sums;
  }
}

void Checkpointer::copy(const TrainingSnapshot& training) {
  if (training.wait) {
    values_ = {segment_, training.parameters, training.m, training.v};
    tables_ = training.tables;
    copy_status_ = training.wait();
  } else {
    copy_status_ = copy_segment(training);
  }
  objective_.assign(training.objective.begin(), training.objective.end());
  copied_.store(true, std::memory_order_release);
  copied_.notify_all();
  CRASH_POINT("snapshot.copy.after");
}

Status Checkpointer::copy_segment(const TrainingSnapshot& training) {
  const size_t size = segment_.size();
  try {
    // Not set to zero first: its pages are new, and each is touched once.
    if (copied_size_ != size) copied_values_ = std::make_unique_for_overwrite<float[]>(3 * size);
    copied_size_ = size;
    copy_tables(training.tables);
  } catch (const std::bad_alloc&) {
    copied_size_ = 0;
    return resource_exhausted("there is no memory for a copy of parameters and moments");
  }
  values_ = {segment_, copied_values_.get(), copied_values_.get() + size, copied_values_.get() + 2 * size};
  const float* from[] = {training.parameters, training.m, training.v};
  const size_t pieces = (size + kCopiedElements - 1) / kCopiedElements;
  return pool_.run(3 * pieces, [&](size_t index, unsigned) {
    const size_t begin = index % pieces * kCopiedElements, end = std::min(size, begin + kCopiedElements);
    const float* values = from[index / pieces];
    std::copy(values + begin, values + end, copied_values_.get() + index / pieces * size + begin);
    return Status::ok();
  });
}

Status Checkpointer::write(const std::atomic<bool>& stop) {
  Time start = clock_.monotonic();
  RETURN_IF_ERROR(copy_status_);
  const Place& place = places_[place_];
  if (is_in_memory(place_) && comm_.rank() == 0) {
    RETURN_IF_ERROR(check_memory_room(options_.memory_directory, bytes_of_all_ranks(), options_.memory_left));
  }
  const std::filesystem::path directory = place.directory.unfinished_path(pending_.step());
  RETURN_IF_ERROR(make_directories(directory));
  std::vector<std::function<Result<v1::ArtifactFile>()>> shards;
  for (size_t begin = segment_.begin, end = 0; begin < segment_.end; begin = end) {
    // Borders are multiples of the same size for any number of ranks, but for those of the segments.
    end = std::min((begin / kShardElements + 1) * kShardElements, segment_.end);
    const size_t at = begin - segment_.begin;
    const ShardValues values{{begin, end}, values_.parameters + at, values_.m + at, values_.v + at};
    shards.push_back([&, values] { return write_shard(directory, tensors_, values, stop); });
  }
  for (size_t t = 0; t < tables_.size(); ++t) {
    const TableMemory& table = tables_[t];
    const size_t rows_max = std::max<size_t>(kShardElements / table.dim, 1);
    for (size_t begin = table.rows.begin; begin < table.rows.end; begin += rows_max) {
      const size_t end = std::min(begin + rows_max, table.rows.end), at = begin - table.rows.begin;
      const TableRows rows{{begin, end}, table.dim, &table.values[at * table.dim], &table.sums[at]};
      shards.push_back([&, t, rows] { return write_table_shard(directory, tensors_[t], rows, stop); });
    }
  }
  if (comm_.rank() == 0 && !objective_.empty()) {
    shards.push_back([&] { return write_objective_file(directory, objective_); });
  }
  if (comm_.rank() == 0 && !options_.products.empty()) {
    shards.push_back([&] { return write_products(directory, options_.products); });
  }
  std::vector<v1::ArtifactFile> files(shards.size());
  RETURN_IF_ERROR(pool_.run(shards.size(), [&](size_t index, unsigned) -> Status {
    ASSIGN_OR_RETURN(files[index], shards[index]());
    return Status::ok();
  }));
  RETURN_IF_ERROR(place.directory.note_files(pending_.step(), comm_.rank(), files));
  write_seconds_ = (clock_.monotonic() - start).to_seconds();
  return Status::ok();
}

uint64_t Checkpointer::bytes_of_all_ranks() const {
  uint64_t floats = 0;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const TensorView& tensor = tensors_[t];
    floats += t < tables_.size() ? tensor.size + tensor.shape[0] : 3 * tensor.size;
  }
  return floats * sizeof(float);
}

Status Checkpointer::seal(const v1::CheckpointInfo& info) {
  Time start = clock_.monotonic();
  RETURN_IF_ERROR(know_numerics());
  v1::CheckpointInfo complete = info;
  *complete.mutable_numerics() = *numerics_;
  const Place& place = places_[place_];
  ASSIGN_OR_RETURN(bytes_, place.directory.seal(info.step(), comm_.size(), complete));
  seal_seconds_ = (clock_.monotonic() - start).to_seconds();
  if (Status removed = place.directory.remove_older(place.kept); !removed.is_ok()) {
    log_warning("checkpoint", "older ones could not be removed: " + removed.message());
  }
  return Status::ok();
}

// Reads the whole program, so it is put off until there is something to write it into or compare it with.
Status Checkpointer::know_numerics() {
  if (numerics_) return Status::ok();
  const auto& training = options_.training;
  ASSIGN_OR_RETURN(numerics_,
                   numerics_fingerprint(training.has_numerics() ? training.numerics() : platform_fingerprint()));
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
    const char* what = is_in_memory(place_) ? " has no place in memory, it and those after it are on disk only: "
                                            : " could not be written, training goes on without it: ";
    log_warning("checkpoint", name_of(pending_.step()) + what + failure.message());
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
    if (comm_.rank() == 0) {
      Status removed = places_[place_].directory.remove_unfinished(pending_.step());
      if (!removed.is_ok()) log_warning("checkpoint", removed.message());
    }
    if (!is_in_memory(place_)) return;
    memory_is_short_ = true;
    ++place_;
    start_writing(nullptr);
    return;
  }
  double part_seconds = 0;
  for (const auto& note : relevant) part_seconds = std::max(part_seconds, note.seconds);
  seconds_ += part_seconds;
  if (phase_ == Phase::kWriting) {
    phase_ = Phase::kSealing;
    if (comm_.rank() == 0) background_.start([this, info = pending_](const std::atomic<bool>&) { return seal(info); });
    return;
  }
  if (is_in_memory(place_)) {
    ++place_;
    start_writing(nullptr);
    return;
  }
  phase_ = Phase::kNone;
  if (comm_.rank() != 0) return;
  SealedCheckpoint sealed{pending_.step(), bytes_, seconds_, stall_seconds_};
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

Result<std::optional<std::string>> Checkpointer::products_of(const CheckpointOptions& options) {
  const std::vector<Place> places = places_of(options);
  v1::CheckpointInfo expected = options.training;
  std::set<Candidate> tried;
  while (true) {
    ASSIGN_OR_RETURN(const Candidate candidate, newest(places, tried));
    if (candidate.step == kNoStep) return std::optional<std::string>();
    if (tried.empty()) {  // reads the whole program
      ASSIGN_OR_RETURN(*expected.mutable_numerics(), numerics_fingerprint(expected.numerics()));
    }
    tried.insert(candidate);
    const std::filesystem::path directory = places[candidate.place].directory.sealed_path(candidate.step);
    const auto manifest = read_checkpoint(directory);
    if (!manifest.is_ok()) continue;  // as restore() will say
    v1::CheckpointInfo found = training_of(manifest->checkpoint());
    const std::string digest = found.numerics().products();
    found.mutable_numerics()->clear_products();
    if (message_digest(found) != message_digest(expected)) continue;
    if (auto text = read_products(directory, digest); text.is_ok()) return std::optional<std::string>(*std::move(text));
  }
}

Result<std::optional<Progress>> Checkpointer::restore(const TrainingMemory& memory) {
  RETURN_IF_ERROR(finish());
  Status prepared;
  for (const auto& place : places_) {
    if (comm_.rank() == 0 && prepared.is_ok()) prepared = place.directory.remove_all_unfinished();
  }
  RETURN_IF_ERROR(comm_.agree(prepared));
  std::set<Candidate> tried;
  while (true) {
    Candidate candidate;
    Status listed;
    if (comm_.rank() == 0) {
      auto found = newest(places_, tried);
      listed = found.status();
      if (found.is_ok()) candidate = *found;
    }
    RETURN_IF_ERROR(comm_.agree(listed));
    RETURN_IF_ERROR(comm_.broadcast(std::as_writable_bytes(std::span(&candidate, 1))));
    if (candidate.step == kNoStep) return std::optional<Progress>();
    tried.insert(candidate);
    const std::string name = name_of(candidate.step) + " " + places_[candidate.place].name;
    Progress progress;
    bool touched = false;
    Status loaded = comm_.agree(load(candidate, memory, &progress, &touched));
    if (loaded.is_ok()) {
      if (comm_.rank() == 0) log_info("checkpoint", "going on from " + name);
      return std::optional<Progress>(std::move(progress));
    }
    if (comm_.rank() == 0) {
      const char* other = is_in_memory(candidate.place) ? "another" : "an older";
      log_warning("checkpoint", name + " is not used, looking for " + other + " one: " + loaded.message());
      bool is_bad = loaded.code() == Code::kCorrupt || loaded.code() == Code::kConflict;
      Status removed = is_bad ? places_[candidate.place].directory.remove_sealed(candidate.step) : Status::ok();
      if (!removed.is_ok()) log_warning("checkpoint", removed.message());
    }
    // Its files are what the manifest says, so this is no damage of the disk; the memory may be a mixture by now.
    if (touched) return loaded.with_context(name);
  }
}

Result<Checkpointer::Candidate> Checkpointer::newest(const std::vector<Place>& places,
                                                     const std::set<Candidate>& tried) {
  Candidate best;
  for (size_t place = 0; place < places.size(); ++place) {
    ASSIGN_OR_RETURN(auto steps, places[place].directory.sealed());
    for (uint64_t step : steps) {
      const Candidate candidate{step, place};
      if ((best.step == kNoStep || step > best.step) && !tried.contains(candidate)) best = candidate;
    }
  }
  return best;
}

Status Checkpointer::load(const Candidate& candidate, const TrainingMemory& memory, Progress* progress, bool* touched) {
  auto directory = places_[candidate.place].directory.sealed_path(candidate.step);
  auto manifest =
      verify_checkpoint(directory, static_cast<size_t>(comm_.rank()), static_cast<size_t>(comm_.size()), &pool_);
  Status usable = manifest.status();
  if (usable.is_ok()) usable = know_numerics();
  if (usable.is_ok()) {
    const auto& found = manifest->checkpoint();
    v1::CheckpointInfo expected = options_.training;
    *expected.mutable_numerics() = *numerics_;
    if (message_digest(training_of(found)) != message_digest(expected) || found.step() != candidate.step) {
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
  ShardTarget target(tensors_, memory);
  if (memory.objective != nullptr) memory.objective->clear();
  RETURN_IF_ERROR(pool_.run(static_cast<size_t>(manifest->files_size()), [&](size_t index, unsigned) -> Status {
    const std::string& name = manifest->files(static_cast<int>(index)).name();
    if (name == kProductsFile) return Status::ok();
    if (name != kObjectiveFile) return target.read(directory / name);
    if (memory.objective == nullptr) return Status::ok();
    ASSIGN_OR_RETURN(*memory.objective, read_objective_file(directory));
    return Status::ok();
  }));
  return target.check_complete();
}

}  // namespace freshet::worker
