// Stands between a training on a GPU and bench/gpu/main.py: a StepEngine around the one that computes, which lets so
// many steps begin as a line of the standard input asks for, waits for the device, and answers with a line of JSON. The
// seconds of a step reach from the end of the one before to its own, with the next one queued behind it as in any
// training; host_seconds are what this thread needs to queue it. One thread, the trainer's.
#pragma once

#include <chrono>
#include <cstdio>
#include <deque>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "kernels/cuda/device.h"
#include "worker/train/step_engine.h"

namespace freshet::worker {

class StepTurns final : public StepEngine {
 public:
  // `snapshots`: of every step, copied to the host. `free_bytes`: of the device, before anything was allocated.
  // `other`: what answers a line that is no number of steps, before the first step.
  StepTurns(std::unique_ptr<StepEngine> engine, bool snapshots, size_t free_bytes,
            std::function<Status(const std::string&)> other)
      : engine_(std::move(engine)), snapshots_(snapshots), free_bytes_(free_bytes), other_(std::move(other)) {}

  size_t examples() const override { return engine_->examples(); }
  size_t parameters() const override { return engine_->parameters(); }
  bool is_late() const override { return engine_->is_late(); }

  Status prepare(const StepPlan& plan) override {
    const auto began = Clock::now();
    Status status = engine_->prepare(plan);
    prepare_seconds_ = since(began);
    return status;
  }

  // cancelled when no more are wanted.
  Status begin(const StepPlan& plan, const std::function<void()>& before_update) override {
    if (begun_ == wanted_) RETURN_IF_ERROR(next_turn());
    const auto began = Clock::now();
    RETURN_IF_ERROR(engine_->begin(plan, before_update));
    const double seconds = since(began) + std::exchange(prepare_seconds_, 0);
    if (snapshots_) {
      // The one before has been copied while this step was queued.
      if (snapshot_) RETURN_IF_ERROR(snapshot_->wait());
      ASSIGN_OR_RETURN(snapshot_, engine_->snapshot());
    }
    add(seconds, &host_);
    ++begun_;
    ++under_way_;
    return Status::ok();
  }

  Result<StepNumbers> end() override {
    if (ended_.empty()) RETURN_IF_ERROR(end_one());
    const StepNumbers numbers = ended_.front();
    ended_.pop_front();
    return numbers;
  }

  Result<TrainingSnapshot> snapshot() override { return engine_->snapshot(); }
  Status overwrite(const std::function<Result<bool>(const TrainingMemory&)>& fill) override {
    return engine_->overwrite(fill);
  }
  Status start_over(std::span<const float> parameters) override { return engine_->start_over(parameters); }
  Result<OptimizerState> gather_optimizer_state() override { return engine_->gather_optimizer_state(); }
  Result<std::vector<float>> take_parameters() override { return engine_->take_parameters(); }

 private:
  using Clock = std::chrono::steady_clock;

  static double since(Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); }

  static void add(double value, std::string* list) {
    char text[64];
    std::snprintf(text, sizeof text, "%s%.9g", list->empty() ? "" : ", ", value);
    *list += text;
  }

  Status end_one() {
    ASSIGN_OR_RETURN(const StepNumbers numbers, engine_->end());
    --under_way_;
    add(since(last_), &seconds_);
    last_ = Clock::now();
    add(numbers.loss, &losses_);
    ended_.push_back(numbers);
    return Status::ok();
  }

  Status next_turn() {
    while (under_way_ > 0) RETURN_IF_ERROR(end_one());
    if (snapshot_) RETURN_IF_ERROR(std::exchange(snapshot_, std::nullopt)->wait());
    if (wanted_ > 0) {
      // Memory is planned once, so the first answer's is every answer's; others may use the device later.
      if (used_bytes_ == 0) {
        ASSIGN_OR_RETURN(const size_t left, cuda::free_device_bytes());
        used_bytes_ = free_bytes_ - left;
      }
      std::cout << "{\"seconds\": [" << seconds_ << "], \"host_seconds\": [" << host_ << "], \"losses\": [" << losses_
                << "], \"peak_mib\": " << (used_bytes_ >> 20) << "}" << std::endl;
    }
    std::string line;
    while (std::getline(std::cin, line) && line.find_first_not_of("0123456789") != std::string::npos) {
      RETURN_IF_ERROR(other_(line));
    }
    if (!std::cin || line.empty()) return cancelled("no more steps are wanted");
    wanted_ = std::stoul(line);
    begun_ = 0;
    seconds_.clear();
    host_.clear();
    losses_.clear();
    last_ = Clock::now();
    return Status::ok();
  }

  const std::unique_ptr<StepEngine> engine_;
  const bool snapshots_;
  const size_t free_bytes_;
  const std::function<Status(const std::string&)> other_;
  size_t used_bytes_ = 0;
  size_t wanted_ = 0, begun_ = 0, under_way_ = 0;
  std::deque<StepNumbers> ended_;  // that the trainer has not asked for yet
  std::optional<TrainingSnapshot> snapshot_;
  double prepare_seconds_ = 0;
  std::string seconds_, host_, losses_;
  Clock::time_point last_;
};

}  // namespace freshet::worker
