#include "tests/power/workload.h"

#include <fcntl.h>

#include <cstdlib>
#include <sstream>

#include "base/file.h"
#include "base/random.h"

namespace freshet::power {

void acknowledge(const std::string& line) {
  static const char* const path = std::getenv("POWER_ACKS");
  if (path == nullptr) return;  // nothing is recorded
  static const Fd acks(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const std::string bytes = line + "\n";
  CHECK(write_all(acks.get(), bytes.data(), bytes.size()).is_ok());
}

std::vector<std::vector<std::string>> acknowledged_as(const std::vector<std::string>& lines, std::string_view what) {
  std::vector<std::vector<std::string>> found;
  for (const std::string& line : lines) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word != what) continue;
    found.emplace_back();
    while (words >> word) found.back().push_back(word);
  }
  return found;
}

std::string payload_of(std::string_view name, uint64_t number, size_t size) {
  const Philox bits(number, stream_of(std::string(name)));
  std::string bytes(size, '\0');
  // No byte is zero, so that a lost sector shows.
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>(1 + ((bits.bits(i / 8) >> (8 * (i % 8))) & 0x7f) % 127);
  return bytes;
}

}  // namespace freshet::power
