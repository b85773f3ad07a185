// Requests changed at random: whatever the bytes, the gate decides the same for all of them at once and for each alone,
// what it lets through has one meaning, and a body decodes to the same bytes however it is cut. The seed is printed.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "daemon/http/body_reader.h"
#include "daemon/http/header_gate.h"

namespace freshet::http {
namespace {

constexpr int kInputs = 20'000;
constexpr uint64_t kSeed = 20;
constexpr uint64_t kBodyMax = 64;
const std::vector<std::string> kHosts = {"h:1"};

const std::vector<std::string>& seeds() {
  static const std::vector<std::string> kSeeds = {
      "GET /a%20b?x=1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
      "POST /a HTTP/1.1\r\nHost: h:1\r\nContent-Length: 4\r\n\r\nabcd",
      "POST /a HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n4;e=1\r\nabcd\r\n2\r\nef\r\n0\r\nX: "
      "y\r\n\r\n",
      "POST /a HTTP/1.0\r\nhost: H:1\r\nConnection: close, x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nz",
      "PUT /a HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
      "GET /a HTTP/1.1\r\nHost: h:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: 1\r\n 2\r\n\r\n",
  };
  return kSeeds;
}

// Pieces that have broken parsers before.
const std::vector<std::string>& pieces() {
  static const std::vector<std::string> kPieces = {"\r\n",
                                                   "\n",
                                                   "\r",
                                                   " ",
                                                   "\t",
                                                   "\v",
                                                   ":",
                                                   ",",
                                                   ";",
                                                   std::string(1, '\0'),
                                                   "\x80",
                                                   "Content-Length: 4\r\n",
                                                   "Content-Length: +4\r\n",
                                                   "Transfer-Encoding: chunked\r\n",
                                                   "Transfer-Encoding: xchunked\r\n",
                                                   "Host: h:1\r\n",
                                                   "Host: evil\r\n",
                                                   "0\r\n\r\n",
                                                   "ffffffffffffffff\r\n",
                                                   "HTTP/1.0",
                                                   "HTTP/1.1",
                                                   "chunked",
                                                   "0x",
                                                   "-"};
  return kPieces;
}

std::string mutated(std::string bytes, SeededRandom& random) {
  for (uint64_t changes = 1 + random.next() % 4; changes > 0; --changes) {
    const size_t at = random.next() % (bytes.size() + 1);
    switch (random.next() % 4) {
      case 0:
        bytes.insert(at, pieces()[random.next() % pieces().size()]);
        break;
      case 1:
        bytes.erase(at, 1 + random.next() % 3);
        break;
      case 2:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random.next());
        break;
      default: {
        const std::string& other = seeds()[random.next() % seeds().size()];
        bytes = bytes.substr(0, at) + other.substr(random.next() % other.size());
      }
    }
  }
  return bytes;
}

struct Decoded {
  std::string bytes;
  bool is_done = false;
  bool is_refused = false;
};

Decoded decode(const std::string& head, const std::string& body, size_t piece) {
  Decoded decoded;
  BodyReader reader(head, kBodyMax);
  std::string input;
  decoded.is_refused = reader.feed(&input, &decoded.bytes).has_value();
  for (size_t at = 0; at < body.size() && !decoded.is_refused && !reader.is_done(); at += piece) {
    input += body.substr(at, piece);
    decoded.is_refused = reader.feed(&input, &decoded.bytes).has_value();
  }
  decoded.is_done = reader.is_done();
  return decoded;
}

void check(const std::string& bytes, int* accepted) {
  const size_t end = bytes.find("\r\n\r\n");
  const std::string head = bytes.substr(0, end == std::string::npos ? end : end + 4);
  const GateResult whole = check_head(head, kHosts);
  bool is_refused_early = false;
  for (size_t size = 1; size <= head.size() && !is_refused_early; ++size) {
    is_refused_early = check_partial_head(std::string_view(head).substr(0, size)).has_value();
  }
  if (is_refused_early) {
    EXPECT_TRUE(whole.refusal.has_value()) << "only whole it passes: " << head;
  }
  if (whole.refusal) return;
  ++*accepted;
  const RequestHead& read = whole.head;
  EXPECT_LE(read.fields.size(), kHeaderFieldsMax);
  EXPECT_FALSE(read.is_chunked && read.content_length) << head;
  EXPECT_TRUE(read.path.starts_with('/')) << head;
  for (std::string_view name : {"host", "content-length", "transfer-encoding"}) {
    auto is_it = [&](const auto& field) { return field.first == name; };
    EXPECT_LE(std::count_if(read.fields.begin(), read.fields.end(), is_it), 1) << head;
  }
  const std::string body = end == std::string::npos ? "" : bytes.substr(end + 4);
  const Decoded once = decode(head, body, body.size() + 1), alone = decode(head, body, 1);
  EXPECT_EQ(once.is_done, alone.is_done) << bytes;
  EXPECT_EQ(once.is_refused, alone.is_refused) << bytes;
  if (once.is_done) {
    EXPECT_EQ(once.bytes, alone.bytes) << bytes;
    EXPECT_LE(once.bytes.size(), kBodyMax) << bytes;
  }
  if (once.is_done && read.content_length) {
    EXPECT_EQ(once.bytes.size(), *read.content_length) << bytes;
  }
}

TEST(GateMutation, HowBytesArriveChangesNothing) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  SeededRandom random(kSeed);
  int accepted = 0;
  for (const std::string& seed : seeds()) check(seed, &accepted);
  for (int i = 0; i < kInputs && !HasFailure(); ++i)
    check(mutated(seeds()[random.next() % seeds().size()], random), &accepted);
  std::printf("%d inputs from seed %llu, %d of them accepted\n", kInputs, static_cast<unsigned long long>(kSeed),
              accepted);
  EXPECT_GT(accepted, kInputs / 100);
}

}  // namespace
}  // namespace freshet::http
