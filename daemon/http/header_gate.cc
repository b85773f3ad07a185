#include "daemon/http/header_gate.h"

#include <algorithm>
#include <charconv>

namespace freshet::http {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr size_t kMethodBytesMax = 16;

// Fields that decide about framing, routing or trust: twice means that two readers may pick different ones.
constexpr std::string_view kSingleFields[] = {"host",         "content-length", "transfer-encoding",
                                              "content-type", "upgrade",        "authorization",
                                              "expect",       "last-event-id",  "idempotency-key"};

bool is_token_char(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char); }

// The characters of RFC 3986 for paths and queries.
bool is_target_char(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("-._~!$&'()*+,;=:@/?%").find(c) != std::string_view::npos;
}

bool is_value_char(char c) { return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<GateRefusal> refuse(int status, std::string reason) { return GateRefusal{status, std::move(reason)}; }

std::optional<GateRefusal> check_request_line(std::string_view line, RequestHead* head) {
  size_t first = line.find(' ');
  size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos || line.find(' ', second + 1) != std::string_view::npos) {
    return refuse(400, "the request line is not METHOD TARGET VERSION");
  }
  std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, second - first - 1);
  std::string_view version = line.substr(second + 1);
  if (!is_token(method) || method.size() > kMethodBytesMax) return refuse(400, "bad method");
  if (version == "HTTP/1.0") {
    head->is_http_1_0 = true;
  } else if (version != "HTTP/1.1") {
    return refuse(version.starts_with("HTTP/") ? 505 : 400, "only HTTP/1.1 is spoken here");
  }
  if (!target.starts_with('/')) return refuse(400, "the target must begin with '/'");
  if (!std::all_of(target.begin(), target.end(), is_target_char)) {
    return refuse(400, "the target holds a character that must be percent-encoded");
  }
  head->method = method;
  size_t question = target.find('?');
  head->path = target.substr(0, question);
  if (question != std::string_view::npos) head->query = target.substr(question + 1);
  return std::nullopt;
}

std::optional<GateRefusal> check_field_line(std::string_view line, RequestHead* head) {
  if (line.front() == ' ' || line.front() == '\t') return refuse(400, "folded header lines are not accepted");
  size_t colon = line.find(':');
  if (colon == std::string_view::npos) return refuse(400, "a header line has no colon");
  std::string_view name = line.substr(0, colon);
  if (!is_token(name)) return refuse(400, "bad header name");
  std::string_view value = trim(line.substr(colon + 1));
  if (!std::all_of(value.begin(), value.end(), is_value_char)) {
    return refuse(400, "a header value holds a control character");
  }
  std::string key = lower(name);
  bool is_single = std::find(std::begin(kSingleFields), std::end(kSingleFields), key) != std::end(kSingleFields);
  if (is_single && std::any_of(head->fields.begin(), head->fields.end(), [&](auto& f) { return f.first == key; })) {
    return refuse(400, "the header " + key + " is there twice");
  }
  head->fields.emplace_back(std::move(key), value);
  if (head->fields.size() > kHeaderFieldsMax) {
    return refuse(431, "more than " + std::to_string(kHeaderFieldsMax) + " header fields");
  }
  return std::nullopt;
}

bool has_field(const RequestHead& head, std::string_view name) {
  return std::any_of(head.fields.begin(), head.fields.end(), [&](const auto& field) { return field.first == name; });
}

std::optional<GateRefusal> check_framing(RequestHead* head) {
  if (has_field(*head, "transfer-encoding")) {
    if (head->field("transfer-encoding") != "chunked") {
      return refuse(501, "the only Transfer-Encoding understood here is chunked");
    }
    if (has_field(*head, "content-length")) return refuse(400, "both Transfer-Encoding and Content-Length");
    if (head->is_http_1_0) return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    head->is_chunked = true;
  }
  if (has_field(*head, "content-length")) {
    std::string_view text = head->field("content-length");
    uint64_t length = 0;
    bool all_digits =
        !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (!all_digits || error != std::errc() || end != text.data() + text.size()) {
      return refuse(400, "Content-Length is not one number");
    }
    head->content_length = length;
  }
  return std::nullopt;
}

std::optional<GateRefusal> check_connection(RequestHead* head) {
  head->wants_close = head->is_http_1_0;
  bool wants_upgrade = false;
  for (const auto& [name, value] : head->fields) {
    if (name != "connection") continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      size_t comma = std::min(rest.find(','), rest.size());
      std::string option = lower(trim(rest.substr(0, comma)));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      if (option == "close") head->wants_close = true;
      if (option == "upgrade") wants_upgrade = true;
      // These may not be removed hop by hop: it would change what the next reader sees of the message.
      if (option == "host" || option == "content-length" || option == "transfer-encoding" ||
          option == "authorization") {
        return refuse(400, "Connection names " + option);
      }
    }
  }
  head->wants_websocket = wants_upgrade && lower(head->field("upgrade")) == "websocket";
  if (has_field(*head, "expect")) {
    if (lower(head->field("expect")) != "100-continue")
      return refuse(417, "the only Expect understood is 100-continue");
    head->expects_continue = !head->is_http_1_0;
  }
  return std::nullopt;
}

std::optional<GateRefusal> check_host(const RequestHead& head, const std::vector<std::string>& hosts) {
  if (!has_field(head, "host")) return refuse(400, "there is no Host");
  std::string host = lower(head.field("host"));
  if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) {
    return refuse(421, "this daemon does not answer to that Host");
  }
  return std::nullopt;
}

std::optional<GateRefusal> check_all(std::string_view bytes, const std::vector<std::string>& hosts, RequestHead* head) {
  if (auto refusal = check_partial_head(bytes)) return refusal;
  if (!bytes.ends_with("\r\n\r\n")) return refuse(400, "the header is not whole");
  size_t end = bytes.find(kLineEnd);
  if (auto refusal = check_request_line(bytes.substr(0, end), head)) return refusal;
  bytes.remove_prefix(end + kLineEnd.size());
  while (bytes != kLineEnd) {
    end = bytes.find(kLineEnd);
    if (end == 0) return refuse(400, "an empty line inside the header");
    if (auto refusal = check_field_line(bytes.substr(0, end), head)) return refusal;
    bytes.remove_prefix(end + kLineEnd.size());
  }
  if (auto refusal = check_framing(head)) return refusal;
  if (auto refusal = check_connection(head)) return refusal;
  return check_host(*head, hosts);
}

}  // namespace

std::string_view RequestHead::field(std::string_view lower_case_name) const {
  for (const auto& [name, value] : fields) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::optional<GateRefusal> check_partial_head(std::string_view bytes) {
  if (bytes.size() > kHeaderBytesMax) {
    return refuse(431, "the header is larger than " + std::to_string(kHeaderBytesMax) + " bytes");
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\0') return refuse(400, "a zero byte in the header");
    if (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\r')) return refuse(400, "a line ends without CR");
    if (bytes[i] == '\r' && i + 1 < bytes.size() && bytes[i + 1] != '\n') return refuse(400, "a CR without LF");
  }
  if (bytes.starts_with(kLineEnd)) return refuse(400, "an empty line before the request");
  return std::nullopt;
}

GateResult check_head(std::string_view bytes, const std::vector<std::string>& hosts) {
  GateResult result;
  result.refusal = check_all(bytes, hosts, &result.head);
  return result;
}

}  // namespace freshet::http
