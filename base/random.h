// Random numbers. `Philox` is the counter-based generator of the training engine: its output is a pure function of
// (seed, stream, counter), so ranks, threads and restarts draw the same numbers. `Random` is the source of ids and
// jitter for the control plane: the system's in production, seeded in tests and in the simulator.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace freshet {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
class Philox {
 public:
  explicit constexpr Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  // Four independent 32-bit words for this counter.
  std::array<uint32_t, 4> block(uint64_t counter) const;
  // 64 random bits for this counter.
  uint64_t bits(uint64_t counter) const;
  // Uniform in [0, 1) with 53 bits.
  double uniform(uint64_t counter) const;
  // Uniform in [0, bound), bound > 0, without modulo bias beyond 2^-64 * bound.
  uint64_t below(uint64_t counter, uint64_t bound) const;

 private:
  uint64_t seed_;
  uint64_t stream_;
};

// A stable 64-bit stream number from a name (first 8 bytes of its SHA-256, little endian).
uint64_t stream_of(const std::string& name);

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
};

// The kernel's random source. Any thread.
class SystemRandom final : public Random {
 public:
  uint64_t next() override;
};

// A reproducible sequence. One thread.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : philox_(seed) {}
  uint64_t next() override { return philox_.bits(counter_++); }

 private:
  Philox philox_;
  uint64_t counter_ = 0;
};

// 32 lowercase hex digits: the form of a Run id (and of an MLflow run_id), gang id and inspection id.
std::string new_id(Random& random);

}  // namespace freshet
