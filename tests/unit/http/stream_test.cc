#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/unit/http/server_fixture.h"

namespace freshet::http::test {
namespace {

// Numbers that the test releases, as server-sent events.
class Ticker {
 public:
  void advance(int to) {
    std::lock_guard lock(mutex_);
    newest_ = to;
  }
  void end() {
    std::lock_guard lock(mutex_);
    is_ended_ = true;
  }
  EventPoll poll(int after) {
    return [this, sent = after]() mutable -> Result<Events> {
      std::lock_guard lock(mutex_);
      ++polls;
      Events events;
      for (; sent < newest_; ++sent)
        events.events.push_back({"tick", std::to_string(sent + 1), "line\n" + std::to_string(sent + 1)});
      events.is_last = is_ended_;
      return events;
    };
  }
  std::atomic<int> polls = 0;

 private:
  std::mutex mutex_;
  int newest_ = 0;
  bool is_ended_ = false;
};

class StreamTest : public HttpServerTest {
 protected:
  StreamTest() {
    router_.route<Permission::kRead>("GET", "/events",
                                     [this](const Principal&, const Request& request) -> Result<Response> {
                                       int after = request.last_event_id.empty() ? 0 : std::stoi(request.last_event_id);
                                       return event_response(ticker_.poll(after));
                                     });
    char path[] = "/tmp/freshet-stream-XXXXXX";
    directory_ = ::mkdtemp(path);
  }
  ~StreamTest() override { std::filesystem::remove_all(directory_); }

  Ticker ticker_;
  std::filesystem::path directory_;
};

TEST_F(StreamTest, EventsArriveWhenTheServerIsWoken) {
  options_.poll_interval = Duration::seconds(3600);  // so that only the wake-up can have done it
  ticker_.advance(2);
  start();
  std::vector<net::ServerEvent> seen;
  Result<net::HttpResponse> answer =
      client().stream_events({"GET", url("/events"), {}, "", {}, {}}, [&](const net::ServerEvent& event) {
        seen.push_back(event);
        if (seen.size() == 2) {
          ticker_.advance(3);
          server_->wake_streams();
        }
        if (seen.size() == 3) {
          ticker_.end();
          server_->wake_streams();
        }
        return true;
      });
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->header("content-type"), "text/event-stream");
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[2].name, "tick");
  EXPECT_EQ(seen[2].id, "3");
  EXPECT_EQ(seen[2].data, "line\n3");
}

TEST_F(StreamTest, EventsArriveWithoutAWakeUp) {
  options_.poll_interval = Duration::millis(20);
  ticker_.advance(1);
  start();
  int seen = 0;
  Result<net::HttpResponse> answer =
      client().stream_events({"GET", url("/events"), {}, "", {}, {}}, [&](const net::ServerEvent&) {
        ticker_.advance(++seen + 1);
        return seen < 5;
      });
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(seen, 5);
}

TEST_F(StreamTest, AReaderThatComesBackGoesOnWhereItWas) {
  ticker_.advance(5);
  ticker_.end();
  start();
  std::vector<std::string> ids;
  Result<net::HttpResponse> answer = client().stream_events(
      {"GET", url("/events"), {{"Last-Event-ID", "3"}}, "", {}, {}}, [&](const net::ServerEvent& event) {
        ids.push_back(event.id);
        return true;
      });
  ASSERT_TRUE(answer.is_ok());
  EXPECT_EQ(ids, (std::vector<std::string>{"4", "5"}));
}

TEST_F(StreamTest, ASilentStreamIsKeptAliveByComments) {
  options_.heartbeat = Duration::millis(50);
  options_.poll_interval = Duration::millis(10);
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /events"));
  socket.read_until("3\r\n:\n\n\r\n3\r\n:\n\n\r\n");
}

TEST_F(StreamTest, ManyWakeUpsArePooled) {
  options_.poll_interval = Duration::seconds(3600);
  ticker_.advance(1);
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /events"));
  socket.read_until("line");
  for (int i = 0; i < 10000; ++i) server_->wake_streams();
  ticker_.advance(2);
  server_->wake_streams();
  socket.read_until("id: 2");
  EXPECT_LT(ticker_.polls, 200);
}

TEST_F(StreamTest, StopEndsAStreamDecently) {
  ticker_.advance(1);
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /events"));
  socket.read_until("line");
  server_->stop(Duration::seconds(5));
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ends_with("0\r\n\r\n")) << *answer;
}

TEST_F(StreamTest, FilesAreSentWhole) {
  std::string content;
  SeededRandom random(3);
  for (int i = 0; i < 200'000; ++i) content += static_cast<char>(random.next());
  content = content + content + content + content;
  std::filesystem::path path = directory_ / "weights";
  ASSERT_TRUE(write_file_durably(path, content).is_ok());
  ASSERT_TRUE(write_file_durably(directory_ / "empty", "").is_ok());
  router_.route<Permission::kRead>("GET", "/files/{name*}", [this](const Principal&, const Request& request) {
    return file_response(directory_ / request.param("name"));
  });
  start();
  net::HttpClient http = client();
  std::string got;
  Result<net::HttpResponse> answer =
      http.request({"GET", url("/files/weights"), {}, "", {}, {}}, [&](std::string_view bytes) {
        got += bytes;
        return Status::ok();
      });
  ASSERT_TRUE(answer.is_ok()) << answer.status().to_string();
  EXPECT_EQ(answer->header("content-length"), std::to_string(content.size()));
  EXPECT_TRUE(got == content);
  EXPECT_EQ(http.request({"GET", url("/files/empty"), {}, "", {}, {}})->body, "");
  EXPECT_EQ(http.request({"GET", url("/files/none"), {}, "", {}, {}})->status, 404);
  EXPECT_EQ(metrics_.open(), 1) << "kept alive behind files";
}

TEST_F(StreamTest, AReaderThatStopsReadingIsCutOff) {
  options_.write_limit = Duration::millis(200);
  std::string large(32 << 20, 'x');
  std::filesystem::path path = directory_ / "large";
  ASSERT_TRUE(write_file_durably(path, large).is_ok());
  router_.route<Permission::kRead>("GET", "/large",
                                   [&](const Principal&, const Request&) { return file_response(path); });
  start();
  RawSocket socket(server_->port());
  socket.send(request("GET /large"));
  socket.read_until("\r\n\r\n");
  // Not read for longer than the limit: what comes then is what the buffers held.
  while (metrics_.open() != 0) std::this_thread::yield();
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_LT(answer->size(), large.size());
}

TEST_F(StreamTest, AnUnknownLengthOnHttp10EndsWithTheConnection) {
  ticker_.advance(1);
  ticker_.end();
  start();
  RawSocket socket(server_->port());
  socket.send("GET /events HTTP/1.0\r\nHost: " + host() + "\r\nAuthorization: Bearer " + token_ + "\r\n\r\n");
  std::optional<std::string> answer = socket.read_all();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->find("chunked"), std::string::npos);
  EXPECT_TRUE(answer->ends_with("id: 1\nevent: tick\ndata: line\ndata: 1\n\n")) << *answer;
}

}  // namespace
}  // namespace freshet::http::test
