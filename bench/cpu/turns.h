// Stands between a training and bench/cpu/main.py: a line of the standard input is a number of steps to make, answered
// with a line of JSON that says what they took, what their losses were, and how long the training has stood still for
// each checkpoint so far. One thread, the trainer's.
#pragma once

#include <sys/resource.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>

#include "worker/checkpoint/checkpointer.h"
#include "worker/train/trainer.h"

namespace freshet::worker {

// Of all threads of this process.
inline double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// How a training is saved beside its steps.
struct Saving {
  CheckpointOptions options;
  const std::vector<TensorView>& tensors;
  Communicator* comm;
};

// Answers a number with what that many steps took, and holds the training until the next number.
class Turns {
 public:
  // False when no more are wanted.
  bool next() {
    if (!(std::cin >> wanted_)) return false;
    seconds_ = losses_ = {};
    done_ = 0;
    cpu_began_ = cpu_seconds();
    began_ = std::chrono::steady_clock::now();
    return true;
  }

  // Before the first step.
  Checkpointer* save(const Saving& saving) {
    return &checkpoints_.emplace(saving.options, saving.tensors, saving.comm,
                                 [this](const SealedCheckpoint& sealed) { add(sealed.stall_seconds, &stalls_); });
  }

  Status on_step(const StepResult& step) {
    const auto now = std::chrono::steady_clock::now();
    add(std::chrono::duration<double>(now - began_).count(), &seconds_);
    add(step.loss, &losses_);
    began_ = now;
    if (++done_ < wanted_) return Status::ok();
    if (checkpoints_) RETURN_IF_ERROR(checkpoints_->finish());
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::cout << "{\"seconds\": [" << seconds_ << "], \"losses\": [" << losses_ << "], \"stalls\": [" << stalls_
              << "], \"cpu_seconds\": " << (cpu_seconds() - cpu_began_) / wanted_
              << ", \"peak_mib\": " << usage.ru_maxrss / 1024 << "}" << std::endl;
    return next() ? Status::ok() : cancelled("no more steps are wanted");
  }

 private:
  static void add(double value, std::string* list) {
    char text[64];
    std::snprintf(text, sizeof text, "%s%.9g", list->empty() ? "" : ", ", value);
    *list += text;
  }

  int wanted_ = 0, done_ = 0;
  std::string seconds_, losses_, stalls_;
  std::optional<Checkpointer> checkpoints_;
  double cpu_began_ = 0;
  std::chrono::steady_clock::time_point began_;
};

// Trains until no more steps are wanted.
inline Status train_in_turns(Trainer* trainer, const std::optional<Saving>& saving = std::nullopt) {
  std::cout << "{\"version\": \"" << FRESHET_VERSION << "\"}" << std::endl;
  Turns turns;
  if (!turns.next()) return Status::ok();
  TrainHooks hooks;
  hooks.on_step = [&](const StepResult& step) { return turns.on_step(step); };
  if (saving) hooks.checkpoints = turns.save(*saving);
  Status status = trainer->run(hooks);
  return status.code() == Code::kCancelled ? Status::ok() : status;
}

}  // namespace freshet::worker
