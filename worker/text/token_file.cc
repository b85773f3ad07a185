#include "worker/text/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>

namespace freshet::worker {
namespace {

static_assert(std::endian::native == std::endian::little);

using Header = std::array<int32_t, 256>;
constexpr int32_t kMagic = 20240520, kVersion = 1;
constexpr int32_t kWideMagic = 20240801, kWideVersion = 7;
constexpr size_t kNarrowVocabulary = 1 << 16;
constexpr size_t kBufferBytes = 1 << 20;

}  // namespace

Result<TokenFile> TokenFile::open(const std::filesystem::path& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return errno_status("open " + path.string(), errno);
  struct stat about{};
  if (::fstat(file.get(), &about) != 0) return errno_status("stat " + path.string(), errno);
  const auto bytes = static_cast<uint64_t>(about.st_size);
  if (bytes < sizeof(Header)) return corrupt(path.string() + " is too short to be a file of tokens");
  void* address = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) return errno_status("map " + path.string(), errno);
  TokenFile tokens;
  tokens.bytes_ = std::shared_ptr<const char>(static_cast<const char*>(address),
                                              [address, bytes](const char*) { ::munmap(address, bytes); });
  Header header;
  std::memcpy(header.data(), tokens.bytes_.get(), sizeof header);
  tokens.wide_ = header[0] == kWideMagic && header[1] == kWideVersion;
  if (!tokens.wide_ && (header[0] != kMagic || header[1] != kVersion)) {
    return corrupt(path.string() + " is not a file of tokens: it begins with " + std::to_string(header[0]) + ", " +
                   std::to_string(header[1]) + " instead of 20240520, 1 or 20240801, 7");
  }
  const uint64_t width = tokens.wide_ ? sizeof(uint32_t) : sizeof(uint16_t);
  tokens.size_ = static_cast<uint32_t>(header[2]);
  if (header[2] < 0 || bytes != sizeof header + tokens.size_ * width) {
    return corrupt(path.string() + " should hold " + std::to_string(header[2]) + " tokens and has " +
                   std::to_string(bytes) + " bytes");
  }
  return tokens;
}

void TokenFile::read(uint64_t begin, size_t count, Token* tokens) const {
  CHECK(begin <= size_ && count <= size_ - begin);
  const char* data = bytes_.get() + sizeof(Header);
  if (wide_) {
    std::memcpy(tokens, data + begin * sizeof(uint32_t), count * sizeof(uint32_t));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    uint16_t token = 0;
    std::memcpy(&token, data + (begin + i) * sizeof token, sizeof token);
    tokens[i] = token;
  }
}

Result<TokenWriter> TokenWriter::create(std::filesystem::path directory, std::string prefix, size_t vocabulary_size,
                                        uint64_t shard_tokens) {
  if (shard_tokens == 0 || shard_tokens > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    return invalid_argument("a shard holds 1 to 2147483647 tokens, not " + std::to_string(shard_tokens));
  }
  TokenWriter writer;
  writer.directory_ = std::move(directory);
  writer.prefix_ = std::move(prefix);
  writer.wide_ = vocabulary_size > kNarrowVocabulary;
  writer.shard_tokens_ = shard_tokens;
  RETURN_IF_ERROR(make_directories(writer.directory_));
  return writer;
}

TokenWriter::~TokenWriter() {
  if (file_.is_open()) ::unlink(unfinished_path().c_str());
}

std::filesystem::path TokenWriter::unfinished_path() const { return directory_ / (prefix_ + ".tmp"); }

Status TokenWriter::begin_shard() {
  file_ = Fd(::open(unfinished_path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file_.is_open()) return errno_status("open " + unfinished_path().string(), errno);
  in_shard_ = 0;
  buffer_.assign(sizeof(Header), '\0');  // end_shard() writes it
  return Status::ok();
}

Status TokenWriter::flush() {
  RETURN_IF_ERROR(write_all(file_.get(), buffer_.data(), buffer_.size()).with_context(unfinished_path().string()));
  buffer_.clear();
  return Status::ok();
}

Status TokenWriter::end_shard() {
  RETURN_IF_ERROR(flush());
  Header header{};
  header[0] = wide_ ? kWideMagic : kMagic;
  header[1] = wide_ ? kWideVersion : kVersion;
  header[2] = static_cast<int32_t>(in_shard_);
  if (::lseek(file_.get(), 0, SEEK_SET) != 0) return errno_status("seek in " + unfinished_path().string(), errno);
  RETURN_IF_ERROR(write_all(file_.get(), header.data(), sizeof header).with_context(unfinished_path().string()));
  if (::fsync(file_.get()) != 0) return errno_status("fsync " + unfinished_path().string(), errno);
  const std::string number = std::to_string(shards_.size());
  std::filesystem::path path =
      directory_ / (prefix_ + "_" + std::string(6 - std::min<size_t>(6, number.size()), '0') + number + ".bin");
  if (::rename(unfinished_path().c_str(), path.c_str()) != 0) return errno_status("rename to " + path.string(), errno);
  file_.reset();
  shards_.push_back(std::move(path));
  return sync_directory(directory_);
}

Status TokenWriter::write(std::span<const Token> tokens) {
  for (Token token : tokens) {
    if (!file_.is_open()) RETURN_IF_ERROR(begin_shard());
    const auto narrow = static_cast<uint16_t>(token);
    CHECK(wide_ || narrow == token);
    buffer_.append(wide_ ? reinterpret_cast<const char*>(&token) : reinterpret_cast<const char*>(&narrow),
                   wide_ ? sizeof token : sizeof narrow);
    ++tokens_written_;
    if (++in_shard_ == shard_tokens_) {
      RETURN_IF_ERROR(end_shard());
    } else if (buffer_.size() >= kBufferBytes) {
      RETURN_IF_ERROR(flush());
    }
  }
  return Status::ok();
}

Result<std::vector<std::filesystem::path>> TokenWriter::finish() {
  if (file_.is_open()) RETURN_IF_ERROR(end_shard());
  return shards_;
}

}  // namespace freshet::worker
