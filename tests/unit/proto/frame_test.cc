#include "proto/frame.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/dataset.pb.h"

namespace freshet {
namespace {

v1::DatasetEntry entry(const std::string& uri) {
  v1::DatasetEntry made;
  made.set_uri(uri);
  return made;
}

struct Pipe {
  Fd read, write;
  Pipe() {
    int ends[2];
    CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
  // What arrives when exactly these bytes were sent.
  Result<bool> receive(std::string_view bytes, v1::DatasetEntry* message) {
    CHECK(write_all(write.get(), bytes.data(), bytes.size()).is_ok());
    write.reset();
    return read_frame(read.get(), message);
  }
};

TEST(Frame, IsLengthAndBytes) {
  EXPECT_EQ(encode_frame(entry("ab")), std::string("\x04\0\0\0\x0a\x02"
                                                   "ab",
                                                   8));
}

TEST(Frame, GoesThroughADescriptor) {
  Pipe pipe;
  ASSERT_TRUE(write_frame(pipe.write.get(), entry("one")).is_ok());
  ASSERT_TRUE(write_frame(pipe.write.get(), v1::DatasetEntry()).is_ok());
  ASSERT_TRUE(write_frame(pipe.write.get(), entry("two")).is_ok());
  pipe.write.reset();
  v1::DatasetEntry got;
  for (const char* uri : {"one", "", "two"}) {
    auto read = read_frame(pipe.read.get(), &got);
    ASSERT_TRUE(read.is_ok()) << read.status().to_string();
    EXPECT_TRUE(*read);
    EXPECT_EQ(got.uri(), uri);
  }
  auto end = read_frame(pipe.read.get(), &got);
  ASSERT_TRUE(end.is_ok());
  EXPECT_FALSE(*end);
}

TEST(Frame, ATornFrameIsCorruptAtEveryByte) {
  const std::string whole = encode_frame(entry("something"));
  for (size_t size = 1; size < whole.size(); ++size) {
    v1::DatasetEntry got;
    auto read = Pipe().receive(std::string_view(whole).substr(0, size), &got);
    ASSERT_FALSE(read.is_ok()) << size;
    EXPECT_EQ(read.status().code(), Code::kCorrupt) << size;
  }
}

TEST(Frame, WhatIsNoMessageIsCorrupt) {
  v1::DatasetEntry got;
  EXPECT_EQ(Pipe().receive(std::string("\x02\0\0\0\xff\xff", 6), &got).status().code(), Code::kCorrupt);
  EXPECT_EQ(Pipe().receive("\xff\xff\xff\xff", &got).status().message(), "a frame claims 4294967295 bytes");
}

TEST(FrameDecoder, TakesBytesAsTheyCome) {
  std::string bytes;
  for (int i = 0; i < 50; ++i) bytes += encode_frame(entry(std::string(static_cast<size_t>(i) * 7, 'x')));
  for (size_t step : {size_t{1}, size_t{3}, size_t{64}, bytes.size()}) {
    FrameDecoder decoder;
    size_t frames = 0;
    for (size_t at = 0; at < bytes.size(); at += step) {
      decoder.feed(std::string_view(bytes).substr(at, step));
      v1::DatasetEntry got;
      while (true) {
        auto next = decoder.next(&got);
        ASSERT_TRUE(next.is_ok());
        if (!*next) break;
        EXPECT_EQ(got.uri().size(), frames * 7);
        ++frames;
      }
    }
    EXPECT_EQ(frames, 50u);
    EXPECT_EQ(decoder.pending_bytes(), 0u);
  }
}

TEST(FrameDecoder, KnowsThatAFrameWasCut) {
  FrameDecoder decoder;
  v1::DatasetEntry got;
  decoder.feed(encode_frame(entry("abc")).substr(0, 6));
  auto next = decoder.next(&got);
  ASSERT_TRUE(next.is_ok());
  EXPECT_FALSE(*next);
  EXPECT_EQ(decoder.pending_bytes(), 6u);
}

TEST(FrameDecoder, RefusesALengthThatIsTooLarge) {
  FrameDecoder decoder;
  v1::DatasetEntry got;
  decoder.feed(std::string("\x01\0\0\x04", 4));  // 64 MiB and one byte
  EXPECT_EQ(decoder.next(&got).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace freshet
