// Private to proto/yaml*.cc: one YAML document into one message, by the message's descriptor. Gathers mistakes instead
// of stopping at the first. One thread, one document.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/yaml.h"
#include "proto/yaml_tree.h"

namespace freshet {

class YamlConverter {
 public:
  // What to say of a key that the message does not have, when there is more to say than that; else nothing.
  using UnknownKey = std::function<std::optional<std::string>(const std::string& key)>;

  // `variables` may be null: then "${" is plain text.
  YamlConverter(std::string file, const YamlVariables* variables, UnknownKey unknown_key = {})
      : file_(std::move(file)), variables_(variables), unknown_key_(std::move(unknown_key)) {}

  // Fills *message; `path` is the document's own place, empty at its root.
  void convert(const YamlNode& node, const std::string& path, google::protobuf::Message* message);

  void add_mistake(int line, const std::string& path, const std::string& message);
  // invalid_argument with one mistake a line; ok when there are none.
  Status status() const;
  YamlLines take_lines() { return std::move(lines_); }

 private:
  using Field = google::protobuf::FieldDescriptor;

  void convert_field(const YamlNode& node, const std::string& path, const Field* field,
                     google::protobuf::Message* message);
  void convert_item(const YamlNode& node, const std::string& path, const Field* field,
                    google::protobuf::Message* message);
  void refuse_key(const YamlNode& key, const std::string& path, const google::protobuf::Message& message);
  // The scalar's text with its variables replaced; nothing (and a mistake) when it is no scalar.
  std::optional<std::string> text_of(const YamlNode& node, const std::string& path, const std::string& expected);
  std::optional<std::string> replace_variables(const YamlNode& node, const std::string& path);
  // A plain (not quoted) scalar's text.
  std::optional<std::string> plain_of(const YamlNode& node, const std::string& path, const std::string& expected);
  template <class Integer>
  std::optional<Integer> integer_of(const YamlNode& node, const std::string& path);
  std::optional<double> double_of(const YamlNode& node, const std::string& path);
  std::optional<bool> bool_of(const YamlNode& node, const std::string& path);
  const google::protobuf::EnumValueDescriptor* enum_of(const YamlNode& node, const std::string& path,
                                                       const google::protobuf::EnumDescriptor* type);

  std::string file_;
  const YamlVariables* variables_;
  UnknownKey unknown_key_;
  YamlLines lines_;
  std::vector<std::string> mistakes_;
};

// The candidate that `word` may have been meant to be; empty when none is near.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

// What a node is, for "expected a list, got ...".
std::string describe(const YamlNode& node);

}  // namespace freshet
