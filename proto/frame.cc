#include "proto/frame.h"

#include <unistd.h>

#include <cerrno>

#include "base/file.h"

namespace freshet {
namespace {

uint32_t decode_length(const char* bytes) {
  uint32_t length = 0;
  for (int i = 3; i >= 0; --i) length = (length << 8) | static_cast<unsigned char>(bytes[i]);
  return length;
}

// The bytes that were there before the end of the stream, at most `size`.
Result<size_t> read_up_to(int fd, char* data, size_t size) {
  size_t got = 0;
  while (got < size) {
    ssize_t n = ::read(fd, data + got, size - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("read frame", errno);
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  return got;
}

Status parse_frame(std::string_view bytes, google::protobuf::MessageLite* message) {
  if (message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return Status::ok();
  return corrupt("a frame of " + std::to_string(bytes.size()) + " bytes is not a " + message->GetTypeName());
}

}  // namespace

std::string encode_frame(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  CHECK(size <= kFrameBytesMax);
  std::string frame(4, '\0');
  for (size_t i = 0; i < 4; ++i) frame[i] = static_cast<char>((size >> (8 * i)) & 255);
  CHECK(message.AppendToString(&frame));
  return frame;
}

Status write_frame(int fd, const google::protobuf::MessageLite& message) {
  const std::string frame = encode_frame(message);
  return write_all(fd, frame.data(), frame.size());
}

Result<bool> read_frame(int fd, google::protobuf::MessageLite* message) {
  char header[4];
  ASSIGN_OR_RETURN(size_t got, read_up_to(fd, header, sizeof header));
  if (got == 0) return false;
  if (got < sizeof header) return corrupt("the stream ended inside a frame's length");
  const uint32_t length = decode_length(header);
  if (length > kFrameBytesMax) return corrupt("a frame claims " + std::to_string(length) + " bytes");
  std::string bytes(length, '\0');
  ASSIGN_OR_RETURN(got, read_up_to(fd, bytes.data(), bytes.size()));
  if (got < length) return corrupt("the stream ended inside a frame");
  RETURN_IF_ERROR(parse_frame(bytes, message));
  return true;
}

Result<bool> FrameDecoder::next(google::protobuf::MessageLite* message) {
  if (pending_bytes() < 4) return false;
  const uint32_t length = decode_length(buffer_.data() + at_);
  if (length > kFrameBytesMax) return corrupt("a frame claims " + std::to_string(length) + " bytes");
  if (pending_bytes() < 4 + size_t{length}) return false;
  RETURN_IF_ERROR(parse_frame(std::string_view(buffer_).substr(at_ + 4, length), message));
  at_ += 4 + size_t{length};
  if (at_ > buffer_.size() / 2) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  return true;
}

}  // namespace freshet
