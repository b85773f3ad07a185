// Frames: a message on a byte stream or in a journal file as its length (4 bytes, little endian) and its bytes. The
// blocking functions work on any descriptor; FrameDecoder takes bytes as they come. One thread a descriptor.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace freshet {

inline constexpr uint32_t kFrameBytesMax = 64u << 20;

std::string encode_frame(const google::protobuf::MessageLite& message);
Status write_frame(int fd, const google::protobuf::MessageLite& message);

// false: the stream ended between two frames. kCorrupt: it ended inside one, or the bytes are no such message.
Result<bool> read_frame(int fd, google::protobuf::MessageLite* message);

class FrameDecoder {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // false: no whole frame is there yet.
  Result<bool> next(google::protobuf::MessageLite* message);
  // Bytes of a frame that has begun; not 0 at the end of a stream means that it was cut.
  size_t pending_bytes() const { return buffer_.size() - at_; }

 private:
  std::string buffer_;
  size_t at_ = 0;
};

}  // namespace freshet
