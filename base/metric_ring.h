// The shared-memory ring through which rank 0 publishes metric points: it can drop but never blocks a training step.
// One writer process (the rank), one reader process (the gang's supervisor), over one mapped file. Points carry a
// sequence number; a reader that was too slow sees the gap and counts what was dropped.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace freshet {

struct MetricPoint {
  char name[48];  // zero-terminated: "loss", "examples_per_second", "step_seconds", "gradient_norm", "learning_rate"
  double value;
  int64_t step;
  int64_t time_us;  // wall time of the rank's node
};

class MetricRing {
 public:
  // Creates the file (capacity: a power of two, in points) and maps it; the supervisor does so before it starts ranks.
  static Result<MetricRing> create(const std::filesystem::path& path, uint32_t capacity);
  // Maps an existing ring, as writer or reader.
  static Result<MetricRing> open(const std::filesystem::path& path);

  MetricRing(MetricRing&&) noexcept;
  MetricRing& operator=(MetricRing&&) noexcept;
  ~MetricRing();

  // Writer. Never blocks; overwrites the oldest point when the reader is behind. A longer name is cut to 47 bytes.
  void push(std::string_view name, double value, int64_t step, int64_t time_us);

  // Reader. Appends the points after *next to `out`, moves *next past them, and returns how many were lost to
  // overwriting since the last call.
  uint64_t drain(uint64_t* next, std::vector<MetricPoint>* out) const;

 private:
  struct Header;
  struct Slot;
  MetricRing(void* mapping, size_t size);
  void* mapping_ = nullptr;
  size_t size_ = 0;
};

}  // namespace freshet
