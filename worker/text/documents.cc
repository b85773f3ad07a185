#include "worker/text/documents.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <string>

#include "base/file.h"
#include "base/sha256.h"
#include "worker/text/words.h"

namespace freshet::worker {
namespace {

// Reads a file in blocks; what is not yet used stays in `bytes`.
class Blocks {
 public:
  Blocks(const std::filesystem::path& path, size_t block_bytes)
      : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path_(path.string()), block_bytes_(block_bytes) {}

  bool is_open() const { return file_.is_open(); }

  // Appends the next block; false at the end of the file.
  Result<bool> more() {
    if (bytes.size() > kPieceBytesMax) {
      return invalid_argument(path_ + " has " + std::to_string(bytes.size() >> 20) +
                              " MiB that cannot be cut: text is cut at white space, .jsonl at the ends of lines");
    }
    const size_t before = bytes.size();
    bytes.resize(before + block_bytes_);
    ssize_t count = 0;
    do {
      count = ::read(file_.get(), bytes.data() + before, block_bytes_);
    } while (count < 0 && errno == EINTR);
    bytes.resize(before + (count > 0 ? static_cast<size_t>(count) : 0));
    if (count < 0) return errno_status("read " + path_, errno);
    hash_.update(std::string_view(bytes).substr(before));
    size_ += bytes.size() - before;
    return count > 0;
  }

  // Of all that was read.
  FileDigest digest() { return {hash_.finish_hex(), size_}; }

  std::string bytes;

 private:
  Fd file_;
  std::string path_;
  size_t block_bytes_;
  Sha256 hash_;
  uint64_t size_ = 0;
};

Status read_text(Blocks* blocks, const DocumentVisitor& visit) {
  bool begins = true;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, blocks->more());
    const size_t cut = more ? last_cut(blocks->bytes) : blocks->bytes.size();
    if (cut == 0 && !(begins && !more)) continue;
    RETURN_IF_ERROR(visit(std::string_view(blocks->bytes).substr(0, cut), begins));
    begins = false;
    blocks->bytes.erase(0, cut);
  }
  return Status::ok();
}

Status read_line(std::string_view line, const std::string& where, const DocumentVisitor& visit) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return Status::ok();
  boost::system::error_code error;
  boost::json::value document = boost::json::parse(line, error);
  if (error) return invalid_argument(where + " is not JSON: " + error.message());
  const boost::json::value* text = document.is_object() ? document.get_object().if_contains("text") : nullptr;
  if (text == nullptr || !text->is_string()) return invalid_argument(where + " has no string in the field \"text\"");
  return visit(text->get_string(), true);
}

Status read_json_lines(Blocks* blocks, const std::string& path, const DocumentVisitor& visit) {
  size_t number = 0;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(more, blocks->more());
    size_t begin = 0;
    for (size_t end; (end = blocks->bytes.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string_view line = std::string_view(blocks->bytes).substr(begin, end - begin);
      RETURN_IF_ERROR(read_line(line, path + " line " + std::to_string(++number), visit));
    }
    blocks->bytes.erase(0, begin);
  }
  return read_line(blocks->bytes, path + " line " + std::to_string(number + 1), visit);
}

}  // namespace

Result<FileDigest> read_documents(const std::filesystem::path& path, const DocumentVisitor& visit, size_t piece_bytes) {
  Blocks blocks(path, piece_bytes);
  if (!blocks.is_open()) return errno_status("open " + path.string(), errno);
  const bool has_lines = path.extension() == ".jsonl";
  RETURN_IF_ERROR(has_lines ? read_json_lines(&blocks, path.string(), visit) : read_text(&blocks, visit));
  return blocks.digest();
}

}  // namespace freshet::worker
