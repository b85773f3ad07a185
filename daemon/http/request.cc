#include "daemon/http/request.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/check.h"
#include "base/file.h"

namespace freshet::http {
namespace {

constexpr size_t kPieceBytes = 256 * 1024;

class FileBody final : public StreamBody {
 public:
  FileBody(Fd file, uint64_t size, std::string path) : file_(std::move(file)), left_(size), path_(std::move(path)) {}

  Result<Piece> next() override {
    Piece piece;
    piece.bytes.resize(std::min<uint64_t>(left_, kPieceBytes));
    ssize_t got = 0;
    if (!piece.bytes.empty()) {
      do {
        got = ::read(file_.get(), piece.bytes.data(), piece.bytes.size());
      } while (got < 0 && errno == EINTR);
      if (got < 0) return errno_status("read " + path_, errno);
      if (got == 0) return unavailable(path_ + " became shorter while it was sent");
    }
    piece.bytes.resize(static_cast<size_t>(got));
    left_ -= static_cast<uint64_t>(got);
    piece.is_last = left_ == 0;
    return piece;
  }

 private:
  Fd file_;
  uint64_t left_;
  std::string path_;
};

// A line end inside a field would end it, so such a value is refused by CHECK for names and split for data.
void append_event(const Event& event, std::string* out) {
  CHECK(event.name.find_first_of("\r\n") == std::string::npos && event.id.find_first_of("\r\n") == std::string::npos);
  if (!event.id.empty()) *out += "id: " + event.id + "\n";
  if (!event.name.empty()) *out += "event: " + event.name + "\n";
  std::string_view rest = event.data;
  for (;;) {
    size_t end = rest.find('\n');
    *out += "data: ";
    *out += rest.substr(0, end);
    *out += '\n';
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  *out += '\n';
}

class EventBody final : public StreamBody {
 public:
  explicit EventBody(EventPoll poll) : poll_(std::move(poll)) {}

  Result<Piece> next() override {
    ASSIGN_OR_RETURN(Events events, poll_());
    Piece piece;
    for (const Event& event : events.events) append_event(event, &piece.bytes);
    piece.is_last = events.is_last;
    return piece;
  }

 private:
  EventPoll poll_;
};

}  // namespace

const std::string& Request::param(const std::string& name) const {
  auto found = params.find(name);
  CHECK_MSG(found != params.end(), "the route has no parameter " + name);
  return found->second;
}

std::string Request::query_or(const std::string& name, std::string otherwise) const {
  auto found = query.find(name);
  return found == query.end() ? std::move(otherwise) : found->second;
}

Result<uint64_t> Request::query_number(const std::string& name, uint64_t otherwise, uint64_t max) const {
  auto found = query.find(name);
  if (found == query.end()) return otherwise;
  const std::string& text = found->second;
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > max) {
    return invalid_argument("'" + name + "' must be a number from 0 to " + std::to_string(max));
  }
  return number;
}

Response text_response(std::string text, std::string content_type) {
  Response response;
  response.content_type = std::move(content_type);
  response.body = std::move(text);
  return response;
}

Result<Response> file_response(const std::filesystem::path& path, std::string content_type) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return errno_status("open " + path.string(), errno);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return errno_status("stat " + path.string(), errno);
  if (!S_ISREG(info.st_mode)) return not_found(path.string() + " is not a file");
  Response response;
  response.content_type = std::move(content_type);
  response.stream_size = static_cast<uint64_t>(info.st_size);
  response.stream = std::make_unique<FileBody>(std::move(file), *response.stream_size, path.string());
  return response;
}

Response event_response(EventPoll poll) {
  Response response;
  response.content_type = "text/event-stream";
  response.stream = std::make_unique<EventBody>(std::move(poll));
  response.is_event_stream = true;
  return response;
}

}  // namespace freshet::http
