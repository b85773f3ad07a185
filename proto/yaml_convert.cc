#include "proto/yaml_convert.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/check.h"

namespace freshet {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMistakesShown = 20;
constexpr size_t kWordShown = 60;

// Levenshtein distance with exchanges of neighbours counted once.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before.swap(row);
    row.swap(next);
  }
  return row[b.size()];
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// At most kWordShown bytes, cut between characters: it comes from outside and goes into a message.
std::string shown(std::string_view word) {
  if (word.size() <= kWordShown) return std::string(word);
  size_t end = kWordShown;
  while (end > 0 && (static_cast<unsigned char>(word[end]) & 0xc0) == 0x80) --end;
  return std::string(word.substr(0, end)) + "...";
}

std::string in_quotes(std::string_view word) { return "'" + shown(word) + "'"; }

bool is_variable_name(std::string_view name) {
  auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && (name[0] < '0' || name[0] > '9') && std::all_of(name.begin(), name.end(), is_word);
}

bool is_whole_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  if (word.size() > 2 * kWordShown) return best;
  for (const auto& candidate : candidates) {
    size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return (node.quoted ? "the quoted text " : "") + in_quotes(node.text);
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a mapping";
  }
  return "";
}

void YamlConverter::add_mistake(int line, const std::string& path, const std::string& message) {
  mistakes_.push_back(file_ + ":" + std::to_string(line) + ": " + (path.empty() ? "" : path + ": ") + message);
}

Status YamlConverter::status() const {
  if (mistakes_.empty()) return Status::ok();
  std::string text;
  for (size_t i = 0; i < mistakes_.size() && i < kMistakesShown; ++i) text += (i == 0 ? "" : "\n") + mistakes_[i];
  if (mistakes_.size() > kMistakesShown) {
    text += "\n... and " + std::to_string(mistakes_.size() - kMistakesShown) + " more";
  }
  return invalid_argument(text);
}

void YamlConverter::refuse_key(const YamlNode& key, const std::string& path, const Message& message) {
  if (unknown_key_) {
    if (auto known = unknown_key_(key.text)) return add_mistake(key.line, "", *known);
  }
  std::vector<std::string> names;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    names.push_back(message.GetDescriptor()->field(i)->name());
  }
  std::string near = nearest_word(key.text, names);
  add_mistake(
      key.line, path,
      near.empty() ? "unknown key; the keys here are " + joined(names) : "unknown key; did you mean '" + near + "'?");
}

void YamlConverter::convert(const YamlNode& node, const std::string& path, Message* message) {
  if (node.kind == YamlNode::Kind::kNull) return;
  if (node.kind != YamlNode::Kind::kMap)
    return add_mistake(node.line, path, "expected a mapping, got " + describe(node));
  std::map<std::string, int> seen;
  std::map<const google::protobuf::OneofDescriptor*, std::string> chosen;
  for (const auto& [key, value] : node.members) {
    const std::string here = (path.empty() ? "" : path + ".") + shown(key.text);
    auto [first, is_new] = seen.emplace(key.text, key.line);
    if (!is_new) {
      add_mistake(key.line, here, "duplicate key; it is already on line " + std::to_string(first->second));
      continue;
    }
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(key.text);
    if (field == nullptr) {
      refuse_key(key, here, *message);
      continue;
    }
    lines_.add(here, key.line);
    if (const auto* oneof = field->real_containing_oneof()) {
      auto [other, alone] = chosen.emplace(oneof, key.text);
      if (!alone) {
        add_mistake(key.line, here, "can't stand beside '" + other->second + "'; keep one of the two");
        continue;
      }
    }
    YamlNode placed = value;
    placed.line = key.line;  // a value may begin on a later line, and "key:" alone has none
    convert_field(placed, here, field, message);
  }
}

void YamlConverter::convert_field(const YamlNode& node, const std::string& path, const FieldDescriptor* field,
                                  Message* message) {
  if (!field->is_repeated()) return convert_item(node, path, field, message);
  if (node.kind != YamlNode::Kind::kSequence) {
    return add_mistake(node.line, path, "expected a list, got " + describe(node));
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    const std::string here = path + "[" + std::to_string(i) + "]";
    lines_.add(here, node.items[i].line);
    convert_item(node.items[i], here, field, message);
  }
}

void YamlConverter::convert_item(const YamlNode& node, const std::string& path, const FieldDescriptor* field,
                                 Message* message) {
  const Reflection* reflection = message->GetReflection();
  const bool repeated = field->is_repeated();
  switch (field->cpp_type()) {
#define FRESHET_FIELD(kind, setter, value)               \
  case FieldDescriptor::CPPTYPE_##kind:                  \
    if (auto found = value) {                            \
      if (repeated)                                      \
        reflection->Add##setter(message, field, *found); \
      else                                               \
        reflection->Set##setter(message, field, *found); \
    }                                                    \
    return;
    FRESHET_FIELD(INT32, Int32, integer_of<int32_t>(node, path))
    FRESHET_FIELD(INT64, Int64, integer_of<int64_t>(node, path))
    FRESHET_FIELD(UINT32, UInt32, integer_of<uint32_t>(node, path))
    FRESHET_FIELD(UINT64, UInt64, integer_of<uint64_t>(node, path))
    FRESHET_FIELD(DOUBLE, Double, double_of(node, path))
    FRESHET_FIELD(BOOL, Bool, bool_of(node, path))
    FRESHET_FIELD(STRING, String, text_of(node, path, "text"))
#undef FRESHET_FIELD
    case FieldDescriptor::CPPTYPE_ENUM:
      if (const EnumValueDescriptor* value = enum_of(node, path, field->enum_type())) {
        repeated ? reflection->AddEnum(message, field, value) : reflection->SetEnum(message, field, value);
      }
      return;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return convert(node, path,
                     repeated ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      break;
  }
  CHECK_MSG(false, field->full_name() + " has a type that documents do not use");
}

std::optional<std::string> YamlConverter::replace_variables(const YamlNode& node, const std::string& path) {
  std::string text;
  for (size_t i = 0; i < node.text.size();) {
    if (node.text.compare(i, 3, "$${") == 0) {
      text += "${";
      i += 3;
      continue;
    }
    if (node.text.compare(i, 2, "${") != 0) {
      text += node.text[i++];
      continue;
    }
    size_t end = node.text.find('}', i);
    std::string name = node.text.substr(i + 2, end == std::string::npos ? end : end - i - 2);
    if (end == std::string::npos || !is_variable_name(name)) {
      add_mistake(node.line, path, "'${' begins a variable, as in ${NAME}; write $${ for the characters themselves");
      return std::nullopt;
    }
    auto variable = variables_->find(name);
    if (variable == variables_->end()) {
      add_mistake(node.line, path, "variable " + name + " is not defined; give it with --var " + name + "=VALUE");
      return std::nullopt;
    }
    text += variable->second;
    i = end + 1;
  }
  return text;
}

std::optional<std::string> YamlConverter::text_of(const YamlNode& node, const std::string& path,
                                                  const std::string& expected) {
  if (node.kind != YamlNode::Kind::kScalar) {
    add_mistake(node.line, path, "expected " + expected + ", got " + describe(node));
    return std::nullopt;
  }
  std::optional<std::string> text = node.text;
  if (variables_ != nullptr) text = replace_variables(node, path);
  int unused = 0;
  if (text && (!is_utf8(*text, &unused) || text->find('\0') != std::string::npos)) {
    add_mistake(node.line, path, "is not UTF-8 text");
    return std::nullopt;
  }
  return text;
}

std::optional<std::string> YamlConverter::plain_of(const YamlNode& node, const std::string& path,
                                                   const std::string& expected) {
  auto text = text_of(node, path, expected);
  if (text && node.quoted) {
    add_mistake(node.line, path, "expected " + expected + ", got " + describe(node) + "; remove the quotes");
    return std::nullopt;
  }
  return text;
}

template <class Integer>
std::optional<Integer> YamlConverter::integer_of(const YamlNode& node, const std::string& path) {
  auto text = plain_of(node, path, "a whole number");
  if (!text) return std::nullopt;
  if (!is_whole_number(*text)) {
    add_mistake(node.line, path, "expected a whole number, got " + in_quotes(*text));
    return std::nullopt;
  }
  if (std::is_unsigned_v<Integer> && text->starts_with('-')) {
    add_mistake(node.line, path, "expected 0 or more, got " + shown(*text));
    return std::nullopt;
  }
  Integer value = 0;
  auto parsed = std::from_chars(text->data(), text->data() + text->size(), value);
  if (parsed.ec == std::errc()) return value;
  constexpr Integer low = std::numeric_limits<Integer>::min();
  constexpr Integer high = std::numeric_limits<Integer>::max();
  add_mistake(node.line, path,
              shown(*text) + " is out of range; use " + std::to_string(low) + " to " + std::to_string(high));
  return std::nullopt;
}

std::optional<double> YamlConverter::double_of(const YamlNode& node, const std::string& path) {
  auto text = plain_of(node, path, "a number");
  if (!text) return std::nullopt;
  double value = 0;
  auto parsed = std::from_chars(text->data(), text->data() + text->size(), value);
  if (parsed.ec == std::errc::result_out_of_range) {
    add_mistake(node.line, path, shown(*text) + " is out of range");
  } else if (parsed.ec != std::errc() || parsed.ptr != text->data() + text->size() || !std::isfinite(value)) {
    add_mistake(node.line, path, "expected a number, got " + in_quotes(*text));
  } else {
    return value;
  }
  return std::nullopt;
}

std::optional<bool> YamlConverter::bool_of(const YamlNode& node, const std::string& path) {
  auto text = plain_of(node, path, "true or false");
  if (!text) return std::nullopt;
  if (*text == "true" || *text == "True" || *text == "TRUE") return true;
  if (*text == "false" || *text == "False" || *text == "FALSE") return false;
  add_mistake(node.line, path, "expected true or false, got " + in_quotes(*text));
  return std::nullopt;
}

const EnumValueDescriptor* YamlConverter::enum_of(const YamlNode& node, const std::string& path,
                                                  const EnumDescriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (!type->value(i)->name().ends_with("_UNSPECIFIED")) names.push_back(type->value(i)->name());
  }
  auto text = text_of(node, path, "one of " + joined(names));
  if (!text) return nullptr;
  std::string upper = *text;
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  const bool one_case =
      *text == upper || std::none_of(text->begin(), text->end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  if (one_case && std::find(names.begin(), names.end(), upper) != names.end()) return type->FindValueByName(upper);
  add_mistake(node.line, path, "expected one of " + joined(names) + ", got " + in_quotes(*text));
  return nullptr;
}

}  // namespace freshet
