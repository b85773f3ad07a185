#include "net/address_policy.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <optional>
#include <utility>

namespace freshet::net {
namespace {

namespace ip = boost::asio::ip;
using Bytes = std::array<uint8_t, 16>;
using Range = AddressPolicy::Range;

constexpr unsigned kMappedBits = 96;

struct Parsed {
  Bytes bytes{};
  bool is_v4 = false;
};

std::optional<Parsed> parse_address(const std::string& text) {
  boost::system::error_code error;
  ip::address address = ip::make_address(text, error);
  if (error) return std::nullopt;
  Parsed parsed;
  if (address.is_v4()) {
    parsed.is_v4 = true;
    parsed.bytes = ip::make_address_v6(ip::v4_mapped, address.to_v4()).to_bytes();
  } else {
    parsed.bytes = address.to_v6().to_bytes();
  }
  return parsed;
}

std::optional<Range> parse_range(const std::string& text) {
  const size_t slash = text.find('/');
  std::optional<Parsed> address = parse_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  const unsigned most = address->is_v4 ? 32 : 128;
  unsigned bits = most;
  if (slash != std::string::npos) {
    const char* end = text.data() + text.size();
    auto parsed = std::from_chars(text.data() + slash + 1, end, bits);
    if (parsed.ec != std::errc() || parsed.ptr != end || bits > most) return std::nullopt;
  }
  return Range{address->bytes, bits + (address->is_v4 ? kMappedBits : 0)};
}

Range range(const char* text) {
  std::optional<Range> parsed = parse_range(text);
  CHECK_MSG(parsed.has_value(), text);
  return *parsed;
}

struct Special {
  Range range;
  const char* what;
};

// IANA's registries of special-purpose addresses. Of IPv6 only 2000::/3 is given out at all, less what follows here.
const std::vector<Special>& specials() {
  static const std::vector<Special> kSpecials = {
      {range("0.0.0.0/8"), "no address of a host"},
      {range("10.0.0.0/8"), "a private address"},
      {range("100.64.0.0/10"), "an address of a carrier's own network"},
      {range("127.0.0.0/8"), "a loopback address"},
      {range("169.254.0.0/16"), "a link-local address"},
      {range("172.16.0.0/12"), "a private address"},
      {range("192.0.0.0/24"), "an address of protocols"},
      {range("192.0.2.0/24"), "an address for documentation"},
      {range("192.88.99.0/24"), "a relay's address"},
      {range("192.168.0.0/16"), "a private address"},
      {range("198.18.0.0/15"), "an address for benchmarks"},
      {range("198.51.100.0/24"), "an address for documentation"},
      {range("203.0.113.0/24"), "an address for documentation"},
      {range("224.0.0.0/4"), "a multicast address"},
      {range("240.0.0.0/4"), "a reserved or broadcast address"},
      {range("::/128"), "no address of a host"},
      {range("::1/128"), "a loopback address"},
      {range("fc00::/7"), "a unique local address"},
      {range("fe80::/10"), "a link-local address"},
      {range("ff00::/8"), "a multicast address"},
      {range("2001::/23"), "an address of protocols"},
      {range("2001:db8::/32"), "an address for documentation"},
      {range("2002::/16"), "an IPv4 address inside IPv6"},
      {range("3fff::/20"), "an address for documentation"},
  };
  return kSpecials;
}

}  // namespace

bool AddressPolicy::Range::holds(const Bytes& address) const {
  const size_t whole = bits / 8;
  if (!std::equal(bytes.begin(), bytes.begin() + whole, address.begin())) return false;
  const unsigned rest = bits % 8;
  return rest == 0 || ((bytes[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

Result<AddressPolicy> AddressPolicy::parse(const std::vector<std::string>& allowed) {
  AddressPolicy policy;
  for (const std::string& text : allowed) {
    std::optional<Range> parsed = parse_range(text);
    if (!parsed) {
      return invalid_argument("'" + text + "' is no range of addresses; write one like 10.1.0.0/16 or fd00::/8");
    }
    policy.allowed_.push_back(*parsed);
  }
  return policy;
}

Status AddressPolicy::check(const std::string& address) const {
  std::optional<Parsed> parsed = parse_address(address);
  if (!parsed) return invalid_argument("'" + address + "' is no address");
  const Bytes& bytes = parsed->bytes;
  auto holds = [&](const Range& one) { return one.holds(bytes); };
  if (std::any_of(allowed_.begin(), allowed_.end(), holds)) return Status::ok();
  static const Range kMapped = range("::ffff:0:0/96");
  static const Range kGlobal = range("2000::/3");
  const char* what = kMapped.holds(bytes) || kGlobal.holds(bytes) ? nullptr : "no public address";
  for (const Special& special : specials()) {
    if (special.range.holds(bytes)) what = special.what;
  }
  if (what == nullptr) return Status::ok();
  return permission_denied(address + " is " + what);
}

}  // namespace freshet::net
