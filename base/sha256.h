// SHA-256 for every digest in Freshet (datasets, weights, artifacts, audit). Streaming; one object per thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace freshet {

class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(const void* data, size_t size);
  void update(std::string_view bytes) { update(bytes.data(), bytes.size()); }
  // Ends the stream; the object must not be used afterwards.
  Digest finish();
  // 64 lowercase hex digits of finish().
  std::string finish_hex();

  static Digest of(std::string_view bytes);
  static std::string hex_of(std::string_view bytes);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string to_hex(const uint8_t* data, size_t size);

// Whether `text` is 64 lowercase hex digits.
bool is_sha256_hex(std::string_view text);

}  // namespace freshet
