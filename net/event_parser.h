// Reads the text/event-stream format piece by piece. One thread; no IO. Lines end in LF or CRLF; comments are dropped.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http_client.h"

namespace freshet::net {

class EventParser {
 public:
  // resource_exhausted when one event or line is larger than 16 MiB.
  Status feed(std::string_view bytes);
  // The next whole event, in order.
  std::optional<ServerEvent> next();

 private:
  void end_of_line();

  std::string line_;
  ServerEvent event_;
  bool has_data_ = false;
  std::string last_id_;
  std::deque<ServerEvent> ready_;
};

}  // namespace freshet::net
