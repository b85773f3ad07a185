#include "net/url.h"

#include <charconv>

namespace freshet::net {
namespace {

constexpr std::string_view kScheme = "http://";
constexpr std::string_view kTlsScheme = "https://";

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Status bad_url(std::string_view text, std::string_view why) {
  return invalid_argument("'" + std::string(text) + "' is not the address of a server (" + std::string(why) +
                          "); write it like http://127.0.0.1:7070");
}

// Behind the scheme, which is the first `scheme` bytes of the text.
Result<Url> parse_rest(std::string_view text, size_t scheme, bool is_tls) {
  for (char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '#' || c == '\\')
      return bad_url(text, "it holds a character that may not be there");
  }
  std::string_view rest = text.substr(scheme);
  size_t slash = rest.find_first_of("/?");
  std::string_view authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) return bad_url(text, "user names do not belong into it");

  Url url;
  url.is_tls = is_tls;
  if (is_tls) url.port = 443;
  std::string_view port;
  if (authority.starts_with('[')) {
    size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad_url(text, "']' is missing");
    url.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
  } else {
    size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon);
  }
  if (url.host.empty()) return bad_url(text, "the host is missing");
  if (!port.empty()) {
    if (port[0] != ':') return bad_url(text, "there is something behind the host that is not a port");
    port.remove_prefix(1);
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0) {
      return bad_url(text, "the port is not a number from 1 to 65535");
    }
  }
  if (slash != std::string_view::npos) {
    std::string_view target = rest.substr(slash);
    url.target = target[0] == '/' ? std::string(target) : "/" + std::string(target);
  }
  return url;
}

}  // namespace

std::string Url::authority() const {
  bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Url> parse_url(std::string_view text) {
  if (!text.starts_with(kScheme)) return bad_url(text, "it does not start with http://");
  return parse_rest(text, kScheme.size(), false);
}

Result<Url> parse_web_url(std::string_view text) {
  if (!text.starts_with(kTlsScheme)) return parse_url(text);
  return parse_rest(text, kTlsScheme.size(), true);
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (is_unreserved(c)) {
      out += c;
    } else {
      auto byte = static_cast<uint8_t>(c);
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
      int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return invalid_argument("a '%' is not followed by two hexadecimal digits");
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace freshet::net
