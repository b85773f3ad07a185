// The gate in front of every handler: a strict reading of a request's header bytes before any library interprets them.
// What two programs could understand differently is refused, not repaired. Pure functions over bytes; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace freshet::http {

constexpr size_t kHeaderBytesMax = 8 * 1024;  // request line and fields together
constexpr size_t kHeaderFieldsMax = 64;

struct RequestHead {
  std::string method;
  std::string path;   // as it came
  std::string query;  // as it came, without '?'
  bool is_http_1_0 = false;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
  std::optional<uint64_t> content_length;
  bool is_chunked = false;
  bool wants_close = false;
  bool wants_websocket = false;
  bool expects_continue = false;

  // Of a field that occurs at most once; empty when it is not there.
  std::string_view field(std::string_view lower_case_name) const;
};

struct GateRefusal {
  int status = 400;
  std::string reason;
};

struct GateResult {
  RequestHead head;                    // when it passed
  std::optional<GateRefusal> refusal;  // when it did not
};

// `bytes` is all up to and with the empty line. `hosts` are the accepted values of Host, in lower case, with the port.
GateResult check_head(std::string_view bytes, const std::vector<std::string>& hosts);

// What can be refused before the empty line has come: line ends that are not CRLF, and too many bytes.
std::optional<GateRefusal> check_partial_head(std::string_view bytes);

}  // namespace freshet::http
