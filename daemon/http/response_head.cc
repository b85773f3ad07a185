#include "daemon/http/response_head.h"

#include <array>
#include <charconv>
#include <ctime>

#include <boost/beast/http/status.hpp>

#include "base/check.h"

namespace freshet::http {
namespace {

std::string http_date() {
  std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::array<char, 40> text{};
  int size = std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[parts.tm_wday],
                           parts.tm_mday, kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                           parts.tm_sec);
  return std::string(text.data(), static_cast<size_t>(size));
}

std::string_view reason_of(int status) {
  if (status == 499) return "Client Closed Request";
  auto reason = boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
  return {reason.data(), reason.size()};
}

void append_field(std::string_view name, std::string_view value, std::string* out) {
  CHECK(value.find_first_of("\r\n") == std::string_view::npos &&
        name.find_first_of("\r\n: ") == std::string_view::npos);
  *out += name;
  *out += ": ";
  *out += value;
  *out += "\r\n";
}

}  // namespace

std::string response_head(const Response& response, BodyFraming framing, bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head += reason_of(response.status);
  head += "\r\n";
  append_field("Date", http_date(), &head);
  append_field("Content-Type", response.content_type, &head);
  append_field("Cache-Control", "no-store", &head);
  append_field("X-Content-Type-Options", "nosniff", &head);
  for (const auto& [name, value] : response.headers) append_field(name, value, &head);
  if (framing == BodyFraming::kLength) {
    append_field("Content-Length", std::to_string(response.stream ? *response.stream_size : response.body.size()),
                 &head);
  } else if (framing == BodyFraming::kChunked) {
    append_field("Transfer-Encoding", "chunked", &head);
  }
  append_field("Connection", keep_alive ? "keep-alive" : "close", &head);
  head += "\r\n";
  return head;
}

std::string chunk(std::string_view bytes) {
  std::array<char, 16> size{};
  auto [end, error] = std::to_chars(size.data(), size.data() + size.size(), bytes.size(), 16);
  CHECK(error == std::errc());
  std::string out(size.data(), end);
  out += "\r\n";
  out += bytes;
  out += "\r\n";
  return out;
}

}  // namespace freshet::http
