#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "base/sha256.h"
#include "tests/unit/http/server_fixture.h"

namespace freshet::http::test {
namespace {

struct Seen {
  // The worker thread that had the sink last may let go of it right behind the answer.
  bool drops_reach(int count) const {
    for (int seen = dropped; seen < count; seen = dropped) dropped.wait(seen);
    return dropped == count;
  }
  std::atomic<int> dropped = 0;
  std::atomic<uint64_t> largest_piece = 0;
};

class DigestSink final : public UploadSink {
 public:
  DigestSink(Seen& seen, std::string refuse_at) : seen_(seen), refuse_at_(std::move(refuse_at)) {}
  ~DigestSink() override {
    if (is_finished_) return;
    ++seen_.dropped;
    seen_.dropped.notify_all();
  }
  Status append(std::string_view bytes) override {
    if (refuse_at_ == "append") return resource_exhausted("the disk is full");
    seen_.largest_piece = std::max<uint64_t>(seen_.largest_piece, bytes.size());
    digest_.update(bytes);
    return Status::ok();
  }
  Result<Response> finish() override {
    if (refuse_at_ == "finish") return invalid_argument("these are not the announced bytes");
    is_finished_ = true;
    return text_response(digest_.finish_hex());
  }

 private:
  Seen& seen_;
  std::string refuse_at_;
  Sha256 digest_;
  bool is_finished_ = false;
};

class UploadTest : public HttpServerTest {
 protected:
  UploadTest() {
    router_.upload<Permission::kAgent>(
        "PUT", "/files/{name*}",
        [this](const Principal&, const Request& request) -> Result<std::unique_ptr<UploadSink>> {
          if (request.query_or("refuse", "") == "begin") return conflict("it is there already");
          return std::unique_ptr<UploadSink>(std::make_unique<DigestSink>(seen_, request.query_or("refuse", "")));
        },
        {.body_bytes_max = 20 << 20, .query = {"refuse"}});
    SeededRandom random(5);
    while (content_.size() < (4u << 20)) {
      uint64_t bits = random.next();
      content_.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
    }
    char path[] = "/tmp/freshet-upload-XXXXXX";
    directory_ = ::mkdtemp(path);
  }
  ~UploadTest() override { std::filesystem::remove_all(directory_); }

  Seen seen_;
  std::string content_;
  std::filesystem::path directory_;
};

TEST_F(UploadTest, BodiesGoThroughInPieces) {
  start();
  net::HttpClient http = client();
  Result<net::HttpResponse> answer = http.request({"PUT", url("/files/a/b.bin"), {}, content_, {}, {}});
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->body, Sha256::hex_of(content_));

  std::filesystem::path file = directory_ / "b.bin";
  ASSERT_TRUE(write_file_durably(file, content_).is_ok());
  answer = http.request({"PUT", url("/files/b.bin"), {}, "", file, {}});
  EXPECT_EQ(answer->body, Sha256::hex_of(content_));
  answer = http.request({"PUT", url("/files/empty"), {}, "", {}, {}});
  EXPECT_EQ(answer->body, Sha256::hex_of(""));
  EXPECT_LE(seen_.largest_piece, 128u * 1024);
  EXPECT_EQ(seen_.dropped, 0);
  EXPECT_EQ(metrics_.open(), 1);
}

TEST_F(UploadTest, ARefusalIsSeenThoughTheBodyIsStillComing) {
  start();
  for (const auto& [where, status] :
       std::vector<std::pair<std::string, int>>{{"begin", 409}, {"append", 507}, {"finish", 400}}) {
    SCOPED_TRACE(where);
    Result<net::HttpResponse> answer = client().request({"PUT", url("/files/a?refuse=" + where), {}, content_, {}, {}});
    ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
    EXPECT_EQ(answer->status, status);
  }
  EXPECT_TRUE(seen_.drops_reach(2)) << "one did not begin; the others are dropped";
}

TEST_F(UploadTest, ABodyThatIsTooLargeIsDropped) {
  start();
  RawSocket socket(server_->port());
  socket.send(request("PUT /files/a", "Transfer-Encoding: chunked\r\n"));
  std::string piece = "100000\r\n" + std::string(0x100000, 'x') + "\r\n";
  for (int i = 0; i < 21; ++i) socket.send(piece);
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->starts_with("HTTP/1.1 413 ")) << answer->substr(0, 200);
  EXPECT_TRUE(seen_.drops_reach(1));
}

TEST_F(UploadTest, AClientThatGoesAwayLeavesNothing) {
  start();
  {
    RawSocket socket(server_->port());
    socket.send(request("PUT /files/a", "Content-Length: 1000\r\n", "abc"));
    socket.finish_sending();
    ASSERT_TRUE(socket.read_all().has_value());
  }
  EXPECT_TRUE(seen_.drops_reach(1));
}

}  // namespace
}  // namespace freshet::http::test
