#include "proto/json.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

#include "base/check.h"

namespace freshet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kDepthMax = 64;

// Listens to the parser only to refuse what the mapping to messages would take silently: duplicate keys.
struct DuplicateKeyHandler {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  std::vector<std::set<std::string>> objects;
  std::string key;
  std::string duplicate;

  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;
  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) {
    objects.emplace_back();
    return true;
  }
  bool on_object_end(size_t, error_code&) {
    objects.pop_back();
    return true;
  }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(size_t, error_code&) { return true; }
  bool on_key_part(string_view part, size_t, error_code&) {
    key.append(part.data(), part.size());
    return true;
  }
  bool on_key(string_view part, size_t, error_code& error) {
    key.append(part.data(), part.size());
    if (!objects.back().insert(key).second) {
      duplicate = key;
      error = boost::json::error::exception;
      return false;
    }
    key.clear();
    return true;
  }
  bool on_string_part(string_view, size_t, error_code&) { return true; }
  bool on_string(string_view, size_t, error_code&) { return true; }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(int64_t, string_view, error_code&) { return true; }
  bool on_uint64(uint64_t, string_view, error_code&) { return true; }
  bool on_double(double, string_view, error_code&) { return true; }
  bool on_bool(bool, error_code&) { return true; }
  bool on_null(error_code&) { return true; }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

std::string print(const Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = pretty;
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  CHECK_MSG(status.ok(), status.ToString());
  return text;
}

void append_string(std::string_view text, std::string* out) {
  out->push_back('"');
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      *out += escape;
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void append_bytes(const std::string& bytes, std::string* out) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  out->push_back('"');
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = (group << 8) | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    size_t have = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 4; ++j) out->push_back(j <= have ? kAlphabet[(group >> (18 - 6 * j)) & 63] : '=');
  }
  out->push_back('"');
}

template <class Number>
void append_number(Number value, std::string* out) {
  char text[40];
  auto end = std::to_chars(text, text + sizeof text, value);
  out->append(text, end.ptr);
}

template <class Number>
void append_floating(Number value, std::string* out) {
  if (std::isnan(value)) {
    *out += "\"NaN\"";
  } else if (std::isinf(value)) {
    *out += value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  } else {
    append_number(value, out);
  }
}

void append_message(const Message& message, std::string* out);

// The field's value; `index` is used for repeated fields only.
void append_value(const Message& message, const FieldDescriptor* field, int index, std::string* out) {
  const Reflection* reflection = message.GetReflection();
  const bool repeated = field->is_repeated();
  std::string scratch;
  switch (field->cpp_type()) {
#define FRESHET_SCALAR(kind, getter, append)                                                                         \
  case FieldDescriptor::CPPTYPE_##kind:                                                                              \
    append(                                                                                                          \
        repeated ? reflection->GetRepeated##getter(message, field, index) : reflection->Get##getter(message, field), \
        out);                                                                                                        \
    return;
    FRESHET_SCALAR(INT32, Int32, append_number)
    FRESHET_SCALAR(INT64, Int64, append_number)
    FRESHET_SCALAR(UINT32, UInt32, append_number)
    FRESHET_SCALAR(UINT64, UInt64, append_number)
    FRESHET_SCALAR(FLOAT, Float, append_floating)
    FRESHET_SCALAR(DOUBLE, Double, append_floating)
    FRESHET_SCALAR(MESSAGE, Message, append_message)
#undef FRESHET_SCALAR
    case FieldDescriptor::CPPTYPE_BOOL:
      *out += (repeated ? reflection->GetRepeatedBool(message, field, index) : reflection->GetBool(message, field))
                  ? "true"
                  : "false";
      return;
    case FieldDescriptor::CPPTYPE_ENUM:
      append_string(
          (repeated ? reflection->GetRepeatedEnum(message, field, index) : reflection->GetEnum(message, field))->name(),
          out);
      return;
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string& text = repeated ? reflection->GetRepeatedStringReference(message, field, index, &scratch)
                                         : reflection->GetStringReference(message, field, &scratch);
      if (field->type() == FieldDescriptor::TYPE_BYTES) {
        append_bytes(text, out);
      } else {
        append_string(text, out);
      }
      return;
    }
  }
}

void append_message(const Message& message, std::string* out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  std::sort(fields.begin(), fields.end(), [](const auto* a, const auto* b) { return a->name() < b->name(); });
  out->push_back('{');
  bool first = true;
  for (const FieldDescriptor* field : fields) {
    CHECK_MSG(!field->is_map(), "maps have no canonical form");
    if (!first) out->push_back(',');
    first = false;
    append_string(field->name(), out);
    out->push_back(':');
    if (!field->is_repeated()) {
      append_value(message, field, 0, out);
      continue;
    }
    out->push_back('[');
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      if (i > 0) out->push_back(',');
      append_value(message, field, i, out);
    }
    out->push_back(']');
  }
  out->push_back('}');
}

}  // namespace

std::string to_json(const Message& message) { return print(message, false); }
std::string to_json_pretty(const Message& message) { return print(message, true); }

Status from_json(std::string_view text, Message* message) {
  boost::json::parse_options strict;
  strict.max_depth = kDepthMax;
  boost::json::basic_parser<DuplicateKeyHandler> parser(strict);
  boost::json::error_code error;
  size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!parser.handler().duplicate.empty()) {
    return invalid_argument("duplicate key \"" + parser.handler().duplicate + "\"");
  }
  if (!error && used < text.size()) error = boost::json::error::extra_data;
  if (error) return invalid_argument("not JSON: " + error.message() + " at byte " + std::to_string(used));
  google::protobuf::util::JsonParseOptions options;
  message->Clear();
  auto status = google::protobuf::util::JsonStringToMessage(google::protobuf::StringPiece(text.data(), text.size()),
                                                            message, options);
  if (!status.ok()) return invalid_argument(std::string(status.message()));
  return Status::ok();
}

std::string to_canonical_json(const Message& message) {
  std::string text;
  append_message(message, &text);
  return text;
}

}  // namespace freshet
