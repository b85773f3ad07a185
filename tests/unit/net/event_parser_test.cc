#include "net/event_parser.h"

#include <gtest/gtest.h>

namespace freshet::net {
namespace {

constexpr std::string_view kStream =
    ": a comment\n\nid: 1\nevent: run\ndata: first\ndata: second\n\ndata:no blank\r\n\r\nevent: no data\n\nid: "
    "7\ndata\n\n"
    "unknown: x\ndata: last\n\ndata: never ended\n";

void expect_events(EventParser& parser) {
  auto expect = [&](const std::string& name, const std::string& id, const std::string& data) {
    std::optional<ServerEvent> event = parser.next();
    ASSERT_TRUE(event.has_value());
    EXPECT_EQ(event->name, name);
    EXPECT_EQ(event->id, id);
    EXPECT_EQ(event->data, data);
  };
  expect("run", "1", "first\nsecond");
  expect("message", "1", "no blank");
  expect("message", "7", "");
  expect("message", "7", "last");
  EXPECT_FALSE(parser.next().has_value());
}

TEST(EventParser, ReadsAStreamInOnePiece) {
  EventParser parser;
  ASSERT_TRUE(parser.feed(kStream).is_ok());
  expect_events(parser);
}

TEST(EventParser, ReadsAStreamByteByByte) {
  EventParser parser;
  for (char c : kStream) ASSERT_TRUE(parser.feed(std::string_view(&c, 1)).is_ok());
  expect_events(parser);
}

TEST(EventParser, AnEventHasABound) {
  EventParser parser;
  Status status;
  for (int i = 0; i < 20 && status.is_ok(); ++i) status = parser.feed("data: " + std::string(1 << 20, 'x') + "\n");
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace freshet::net
