// Writes and reads checkpoints of random state for bench/cpu/main.py, by the code that trainings use. Each line of the
// standard input is one of "write" (copied, hashed, on disk and sealed), "read" (verified and filled in) and "evict"
// (what is on disk leaves the page cache); the answer is a line of JSON with the seconds it took.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "bench/cpu/turns.h"
#include "worker/checkpoint/checkpointer.h"

namespace freshet::worker {
namespace {

// Any bits that are floats: what compresses or deduplicates would flatter somebody.
void fill(uint64_t stream, std::vector<float>* values) {
  const Philox philox(1, stream);
  for (size_t i = 0; i < values->size(); i += 2) {
    const uint64_t bits = philox.bits(i);
    (*values)[i] = static_cast<float>(bits & 0xFFFFFFFF) * 0x1p-32F;
    if (i + 1 < values->size()) (*values)[i + 1] = static_cast<float>(bits >> 32) * 0x1p-32F;
  }
}

class State {
 public:
  State(const std::string& directory, size_t parameters)
      : directory_(directory), weights_(parameters), m_(parameters), v_(parameters) {
    fill(1, &weights_);
    fill(2, &m_);
    fill(3, &v_);
    CheckpointOptions options;
    options.directory = directory;
    options.epoch = 1;
    options.every_steps = 1;
    options.kept = 1;
    options.threads = std::max(1U, std::thread::hardware_concurrency());
    checkpoints_.emplace(options, std::vector<TensorView>{{"weights", {parameters}, 0, parameters}}, &comm_, nullptr);
  }

  Status write() {
    progress_.step += 1;
    ASSIGN_OR_RETURN(const bool is_due, checkpoints_->is_due(progress_.step));
    if (!is_due) return internal("no checkpoint was due");
    checkpoints_->begin(progress_, {{0, weights_.size()}, weights_.data(), m_.data(), v_.data(), {}, {}, {}});
    return checkpoints_->finish();
  }
  Status read() {
    const float expected = weights_.back();
    weights_.back() = 0;
    ASSIGN_OR_RETURN(auto found, checkpoints_->restore(memory()));
    return found && weights_.back() == expected ? Status::ok() : internal("nothing was restored");
  }
  Status evict() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
      if (!entry.is_regular_file()) continue;
      const Fd fd(open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
      if (posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) != 0) return internal("posix_fadvise");
    }
    return Status::ok();
  }

 private:
  TrainingMemory memory() { return {weights_, {0, weights_.size()}, m_, v_, {}}; }
  const std::filesystem::path directory_;
  std::vector<float> weights_, m_, v_;
  SingleCommunicator comm_;
  std::optional<Checkpointer> checkpoints_;
  Progress progress_;
};

int main_of(int argc, char** argv) {
  std::string directory;
  size_t parameters = 124'439'808;
  CLI::App app("Writes and reads checkpoints for bench/cpu/main.py.");
  app.add_option("--directory", directory)->required();
  app.add_option("--parameters", parameters)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  State state(directory, parameters);
  std::printf("{\"version\": \"freshet\"}\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    const auto began = std::chrono::steady_clock::now();
    const double cpu = cpu_seconds();
    const Status status = line == "write" ? state.write() : line == "read" ? state.read() : state.evict();
    if (!status.is_ok()) {
      std::fprintf(stderr, "checkpoint_io: %s\n", status.message().c_str());
      return 1;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", took.count(), cpu_seconds() - cpu);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) { return freshet::worker::main_of(argc, argv); }
