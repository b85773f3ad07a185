#include "daemon/store/log_tail.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/crc.hpp>
#include <cerrno>
#include <optional>

#include "base/file.h"
#include "base/log.h"

namespace freshet {
namespace {

// A log is blocks of 32 KiB. A batch is one piece in it, or several in a row: each has its checksum (4 bytes), its
// length (2) and its kind (1). No piece crosses a block, and what is left of a block that is too short for one is
// zeros.
constexpr size_t kBlockBytes = 32768;
constexpr size_t kHeaderBytes = 7;
enum Kind : uint8_t { kWhole = 1, kFirst = 2, kMiddle = 3, kLast = 4 };
// A batch begins with the number of its first change (8 bytes) and how many it has (4).
constexpr size_t kBatchHeaderBytes = 12;

uint64_t little_endian(std::string_view bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

// CRC-32C, masked as RocksDB stores it.
uint32_t checksum(std::string_view bytes) {
  boost::crc_optimal<32, 0x1edc6f41, 0xffffffff, 0xffffffff, true, true> castagnoli;
  castagnoli.process_bytes(bytes.data(), bytes.size());
  const uint32_t crc = castagnoli.checksum();
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

struct Piece {
  uint8_t kind = 0;
  std::string_view payload;
};

// nullopt: no whole piece begins there.
std::optional<Piece> piece_at(std::string_view log, size_t at) {
  const size_t left = std::min(kBlockBytes - at % kBlockBytes, log.size() - at);
  if (left < kHeaderBytes) return std::nullopt;
  const size_t length = little_endian(log, at + 4, 2);
  const auto kind = static_cast<uint8_t>(log[at + 6]);
  if (kind < kWhole || kind > kLast || kHeaderBytes + length > left) return std::nullopt;
  if (little_endian(log, at, 4) != checksum(log.substr(at + 6, 1 + length))) return std::nullopt;
  return Piece{kind, log.substr(at + kHeaderBytes, length)};
}

struct Reading {
  size_t whole_end = 0;       // behind the last whole batch
  uint64_t last_change = 0;   // of that batch; 0: there is none
  std::optional<size_t> bad;  // where the first piece that is not whole begins
};

Reading read_log(std::string_view log) {
  Reading reading;
  std::string_view first;
  for (size_t at = 0; at < log.size();) {
    if (kBlockBytes - at % kBlockBytes < kHeaderBytes) {
      at += kBlockBytes - at % kBlockBytes;
      continue;
    }
    const auto piece = piece_at(log, at);
    if (!piece) {
      reading.bad = at;
      return reading;
    }
    at += kHeaderBytes + piece->payload.size();
    if (piece->kind == kWhole || piece->kind == kFirst) first = piece->payload;
    if (piece->kind != kWhole && piece->kind != kLast) continue;
    reading.whole_end = at;
    if (first.size() >= kBatchHeaderBytes) {
      reading.last_change = little_endian(first, 0, 8) + little_endian(first, 8, 4) - 1;
    }
  }
  return reading;
}

// Whether a whole batch, or one in several pieces, begins behind `at`.
bool another_begins(std::string_view log, size_t at) {
  for (++at; at + kHeaderBytes <= log.size(); ++at) {
    const auto kind = static_cast<uint8_t>(log[at + 6]);
    if ((kind == kWhole || kind == kFirst) && piece_at(log, at)) return true;
  }
  return false;
}

std::filesystem::path newest_log(const std::filesystem::path& database) {
  std::filesystem::path newest;
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(database, ignored)) {
    // Their numbers have leading zeros up to six digits.
    const auto rank = [](const std::filesystem::path& path) {
      return std::pair(path.filename().string().size(), path.filename().string());
    };
    if (file.path().extension() == ".log" && rank(file.path()) > rank(newest)) newest = file.path();
  }
  return newest;
}

}  // namespace

Result<bool> cut_torn_tail(const std::filesystem::path& database, uint64_t synced) {
  const std::filesystem::path path = newest_log(database);
  if (path.empty()) return false;
  ASSIGN_OR_RETURN(std::string log, read_file(path));
  const Reading reading = read_log(log);
  if (!reading.bad || another_begins(log, *reading.bad)) return false;
  // Without a whole batch before it, the torn one's own number says what came before.
  uint64_t kept = reading.last_change;
  const size_t number_at = reading.whole_end + kHeaderBytes;
  if (kept == 0 && log.size() >= number_at + 8) {
    kept = std::max<uint64_t>(1, little_endian(log, number_at, 8)) - 1;
  }
  if (kept < synced) return false;
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.is_open()) return errno_status("open " + path.string(), errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(reading.whole_end)) != 0 || ::fsync(fd.get()) != 0) {
    return errno_status("cut " + path.string(), errno);
  }
  log_warning("store", "the last batch of " + path.string() +
                           " was not whole, as after a loss of power; it was never " + "acknowledged and is gone");
  return true;
}

}  // namespace freshet
