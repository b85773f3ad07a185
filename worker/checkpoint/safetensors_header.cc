#include "worker/checkpoint/safetensors_header.h"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <set>

namespace freshet::worker {
namespace {

constexpr size_t kDimensionsMax = 64;
constexpr uint64_t kHeaderBytesMax = uint64_t{64} << 20;
constexpr size_t kPrefixBytes = 8;

void write_string(const std::string& text, std::string* out) {
  *out += '"';
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      *out += '\\';
      *out += c;
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      *out += escape;
    } else {
      *out += c;
    }
  }
  *out += '"';
}

void append_utf8(uint32_t code, std::string* out) {
  auto put = [out](uint32_t byte) { *out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Status parse(std::vector<HeaderTensor>* tensors) {
    if (text_.empty() || text_[0] != '{') return fail("the header does not begin with {");
    RETURN_IF_ERROR(object([&](const std::string& key) -> Status {
      if (key == "__metadata__") return metadata();
      tensors->push_back({key, "", {}, 0, 0});
      return tensor(&tensors->back());
    }));
    skip_space();
    return at_ == text_.size() ? Status::ok() : fail("there is text after the header's object");
  }

 private:
  Status fail(const std::string& what) const { return corrupt(what + " (header byte " + std::to_string(at_) + ")"); }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status expect(char c) { return take(c) ? Status::ok() : fail(std::string("expected ") + c); }

  // Calls `member` at the value of each key, which it must read.
  template <class Member>
  Status object(Member member) {
    RETURN_IF_ERROR(expect('{'));
    std::set<std::string> keys;
    if (take('}')) return Status::ok();
    do {
      std::string key;
      RETURN_IF_ERROR(string(&key));
      if (!keys.insert(key).second) return fail("the key " + key + " is given twice");
      RETURN_IF_ERROR(expect(':'));
      RETURN_IF_ERROR(member(key));
    } while (take(','));
    return expect('}');
  }

  Status metadata() {
    return object([this](const std::string&) {
      std::string value;
      return string(&value);
    });
  }

  Status tensor(HeaderTensor* tensor) {
    bool dtype = false, shape = false, offsets = false;
    auto field = [&](const std::string& key) -> Status {
      if (key == "dtype") {
        dtype = true;
        return string(&tensor->dtype);
      }
      if (key == "shape") {
        shape = true;
        return numbers(&tensor->shape);
      }
      if (key != "data_offsets") return fail("tensor " + tensor->name + " has the unknown field " + key);
      offsets = true;
      std::vector<uint64_t> pair;
      RETURN_IF_ERROR(numbers(&pair));
      if (pair.size() != 2) return fail("data_offsets of " + tensor->name + " are not two numbers");
      tensor->begin = pair[0];
      tensor->end = pair[1];
      return Status::ok();
    };
    RETURN_IF_ERROR(object(field));
    if (dtype && shape && offsets) return Status::ok();
    return fail("tensor " + tensor->name + " lacks dtype, shape or data_offsets");
  }

  Status numbers(std::vector<uint64_t>* numbers) {
    RETURN_IF_ERROR(expect('['));
    if (take(']')) return Status::ok();
    do {
      uint64_t value = 0;
      RETURN_IF_ERROR(number(&value));
      numbers->push_back(value);
      if (numbers->size() > kDimensionsMax) return fail("a list is too long");
    } while (take(','));
    return expect(']');
  }

  Status number(uint64_t* value) {
    skip_space();
    const char* begin = text_.data() + at_;
    auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), *value);
    bool leading_zero = end - begin > 1 && *begin == '0';
    if (error != std::errc() || leading_zero) return fail("expected a whole number that is not negative");
    at_ += static_cast<size_t>(end - begin);
    return Status::ok();
  }

  Status string(std::string* out) {
    RETURN_IF_ERROR(expect('"'));
    while (at_ < text_.size()) {
      char c = text_[at_++];
      if (c == '"') return Status::ok();
      if (static_cast<unsigned char>(c) < 0x20) return fail("a string holds a control character");
      if (c != '\\') {
        *out += c;
        continue;
      }
      RETURN_IF_ERROR(escape(out));
    }
    return fail("a string has no end");
  }

  Status escape(std::string* out) {
    if (at_ >= text_.size()) return fail("a string has no end");
    char c = text_[at_++];
    constexpr std::string_view kLetters = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (size_t i = kLetters.find(c); i != std::string_view::npos) {
      *out += kValues[i];
      return Status::ok();
    }
    if (c != 'u') return fail("unknown escape");
    uint32_t code = 0;
    RETURN_IF_ERROR(hex4(&code));
    if (code >= 0xD800 && code < 0xDC00) {
      uint32_t low = 0;
      if (text_.substr(at_, 2) != "\\u") return fail("half a surrogate pair");
      at_ += 2;
      RETURN_IF_ERROR(hex4(&low));
      if (low < 0xDC00 || low > 0xDFFF) return fail("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      return fail("half a surrogate pair");
    }
    append_utf8(code, out);
    return Status::ok();
  }

  Status hex4(uint32_t* code) {
    if (text_.size() - at_ < 4) return fail("a string has no end");
    const char* begin = text_.data() + at_;
    auto [end, error] = std::from_chars(begin, begin + 4, *code, 16);
    if (error != std::errc() || end != begin + 4) return fail("expected four hex digits");
    at_ += 4;
    return Status::ok();
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string write_header(const std::vector<HeaderTensor>& tensors) {
  std::string text = "{\"__metadata__\":{\"format\":\"pt\"}";
  for (const auto& tensor : tensors) {
    text += ',';
    write_string(tensor.name, &text);
    text += ":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      if (i > 0) text += ',';
      text += std::to_string(tensor.shape[i]);
    }
    text += "],\"data_offsets\":[" + std::to_string(tensor.begin) + "," + std::to_string(tensor.end) + "]}";
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string bytes(kPrefixBytes, '\0');
  std::memcpy(bytes.data(), &length, kPrefixBytes);
  return bytes + text;
}

uint64_t header_end(std::string_view start) {
  uint64_t length = 0;
  std::memcpy(&length, start.data(), std::min(kPrefixBytes, start.size()));
  return kPrefixBytes + std::min(length, kHeaderBytesMax + 1);
}

Result<SafetensorsParts> read_header(std::string_view file) {
  uint64_t length = 0;
  if (file.size() < kPrefixBytes) return corrupt("it has " + std::to_string(file.size()) + " bytes");
  std::memcpy(&length, file.data(), kPrefixBytes);
  if (length > kHeaderBytesMax) return corrupt("its header claims " + std::to_string(length) + " bytes");
  if (length > file.size() - kPrefixBytes) return corrupt("it ends inside its header");
  SafetensorsParts parts;
  RETURN_IF_ERROR(Parser(file.substr(kPrefixBytes, length)).parse(&parts.tensors));
  parts.data = file.substr(kPrefixBytes + length);
  return parts;
}

}  // namespace freshet::worker
