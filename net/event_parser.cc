#include "net/event_parser.h"

#include <utility>

namespace freshet::net {

constexpr size_t kEventBytesMax = 16u << 20;

Status EventParser::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    if (line_.size() + event_.data.size() > kEventBytesMax) return resource_exhausted("an event is larger than 16 MiB");
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
    end_of_line();
  }
  return Status::ok();
}

void EventParser::end_of_line() {
  std::string line = std::exchange(line_, {});
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) {
    if (has_data_) {
      event_.data.pop_back();  // the line end behind the last data line
      event_.id = last_id_;
      ready_.push_back(std::move(event_));
    }
    event_ = ServerEvent();
    has_data_ = false;
    return;
  }
  size_t colon = line.find(':');
  std::string_view field = std::string_view(line).substr(0, colon);
  std::string_view value = colon == std::string::npos ? std::string_view() : std::string_view(line).substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    event_.data += value;
    event_.data += '\n';
    has_data_ = true;
  } else if (field == "event") {
    event_.name = value;
  } else if (field == "id") {
    last_id_ = value;
  }
}

std::optional<ServerEvent> EventParser::next() {
  if (ready_.empty()) return std::nullopt;
  ServerEvent event = std::move(ready_.front());
  ready_.pop_front();
  return event;
}

}  // namespace freshet::net
