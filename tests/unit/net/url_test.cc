#include "net/url.h"

#include <gtest/gtest.h>

namespace freshet::net {
namespace {

TEST(Url, ReadsAddresses) {
  Url url = *parse_url("http://127.0.0.1:7070/api/v1/runs?page_size=2");
  EXPECT_EQ(url.host, "127.0.0.1");
  EXPECT_EQ(url.port, 7070);
  EXPECT_EQ(url.target, "/api/v1/runs?page_size=2");
  EXPECT_EQ(url.authority(), "127.0.0.1:7070");
  EXPECT_EQ(parse_url("http://localhost")->port, 80);
  EXPECT_EQ(parse_url("http://localhost")->target, "/");
  EXPECT_EQ(parse_url("http://localhost?a=1")->target, "/?a=1");
  EXPECT_EQ(parse_url("http://[::1]:7070/x")->host, "::1");
  EXPECT_EQ(parse_url("http://[::1]:7070/x")->authority(), "[::1]:7070");
}

TEST(Url, AWebAddressMayHaveTls) {
  Url url = *parse_web_url("https://example.org/hook");
  EXPECT_TRUE(url.is_tls);
  EXPECT_EQ(url.port, 443);
  EXPECT_EQ(parse_web_url("https://example.org:8443")->port, 8443);
  EXPECT_FALSE(parse_web_url("http://example.org")->is_tls);
  EXPECT_EQ(parse_web_url("ftp://example.org").status().code(), Code::kInvalidArgument);
}

TEST(Url, RefusesTheRestAndSaysHowToWriteIt) {
  for (const char* text :
       {"", "127.0.0.1:7070", "https://127.0.0.1:7070", "http://", "http://:7070", "http://host:0", "http://host:65536",
        "http://host:x", "http://host:7070x", "http://user@host/", "http://[::1", "http://[::1]x", "http://host/a b",
        "http://host/#a", "http://host/\r\nX: 1", "http://host\\a"}) {
    Status status = parse_url(text).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_NE(status.message().find("write it like http://127.0.0.1:7070"), std::string::npos) << text;
  }
}

TEST(PercentCoding, GoesBothWays) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(*percent_decode(percent_encode(all)), all);
  EXPECT_EQ(percent_encode("a/b c+ä~"), "a%2Fb%20c%2B%C3%A4~");
  EXPECT_EQ(*percent_decode("a+b", true), "a b");
  EXPECT_EQ(*percent_decode("a+b", false), "a+b");
  for (const char* text : {"%", "%4", "%4g", "a%", "%-1", "% 1"}) {
    EXPECT_EQ(percent_decode(text).status().code(), Code::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace freshet::net
