#include "proto/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <optional>
#include <streambuf>

namespace freshet {
namespace {

// Thrown inside the parser's callbacks, caught in parse_yaml.
struct Refused {
  int line;
  std::string message;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  std::optional<YamlNode> take() {
    auto root = std::move(root_);
    root_.reset();
    return root;
  }

  void OnDocumentStart(const YAML::Mark&) override {
    root_.reset();
    open_.clear();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add(node(YamlNode::Kind::kNull, mark)); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{line_of(mark), "an alias (*name) is not supported; write the value out"};
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    refuse_tag(mark, tag);
    YamlNode scalar = node(YamlNode::Kind::kScalar, mark);
    scalar.quoted = tag == "!";
    scalar.text = value;
    add(std::move(scalar));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(node(YamlNode::Kind::kSequence, mark));
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(node(YamlNode::Kind::kMap, mark));
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    std::optional<YamlNode> key;  // maps: waits for its value
  };

  static int line_of(const YAML::Mark& mark) { return mark.line + 1; }

  static YamlNode node(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode made;
    made.kind = kind;
    made.line = line_of(mark);
    return made;
  }

  // "!" is what the parser says of quoted scalars, "?" of plain ones and of collections.
  static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "!" && tag != "?") throw Refused{line_of(mark), "a tag (" + tag + ") is not supported"};
  }

  void open(YamlNode made) {
    if (open_.size() >= kYamlDepthMax) {
      throw Refused{made.line, "nested deeper than " + std::to_string(kYamlDepthMax) + " levels"};
    }
    if (!open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().key) {
      throw Refused{made.line, "a key must be a plain word"};
    }
    open_.push_back({std::move(made), std::nullopt});
  }

  void close() {
    YamlNode done = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(done));
  }

  void add(YamlNode made) {
    if (open_.empty()) {
      root_ = std::move(made);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(made));
    } else if (parent.key) {
      parent.node.members.emplace_back(std::move(*parent.key), std::move(made));
      parent.key.reset();
    } else if (made.kind == YamlNode::Kind::kScalar) {
      parent.key = std::move(made);
    } else {
      throw Refused{made.line, "a key must be a plain word"};
    }
  }

  std::optional<YamlNode> root_;
  std::vector<Open> open_;
};

// Reads the text where it lies.
class TextBuffer final : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // the interface wants char*; an input buffer never writes
    setg(begin, begin, begin + text.size());
  }
};

Status at(const std::string& file, int line, const std::string& message) {
  return invalid_argument(file + ":" + std::to_string(line) + ": " + message);
}

}  // namespace

bool is_utf8(std::string_view text, int* bad_line) {
  *bad_line = 1;
  for (size_t i = 0; i < text.size();) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') ++*bad_line;
    size_t more = byte < 0x80                   ? 0
                  : byte >= 0xc2 && byte < 0xe0 ? 1
                  : (byte & 0xf0) == 0xe0       ? 2
                  : byte >= 0xf0 && byte < 0xf5 ? 3
                                                : 4;
    if (more == 4 || text.size() - i <= more) return false;
    uint32_t point = more == 0 ? byte : byte & (0x3fu >> more);
    for (size_t j = 1; j <= more; ++j) {
      auto next = static_cast<unsigned char>(text[i + j]);
      if ((next & 0xc0) != 0x80) return false;
      point = (point << 6) | (next & 0x3fu);
    }
    if ((more == 2 && point < 0x800) || (more == 3 && point < 0x10000) || point > 0x10ffff) return false;
    if (point >= 0xd800 && point < 0xe000) return false;
    i += more + 1;
  }
  return true;
}

Result<std::vector<YamlNode>> parse_yaml(std::string_view text, const std::string& file) {
  int bad_line = 1;
  if (text.size() > kYamlBytesMax) {
    return at(file, 1, "the file has " + std::to_string(text.size()) + " bytes; at most 1 MiB is read");
  }
  if (!is_utf8(text, &bad_line)) return at(file, bad_line, "not UTF-8");
  for (char c : text) {
    if (c == '\0') return at(file, 1, "holds a zero byte; this is no text file");
  }
  std::vector<YamlNode> documents;
  try {
    TextBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    TreeBuilder builder;
    while (parser.HandleNextDocument(builder)) {
      auto root = builder.take();
      if (root && root->kind != YamlNode::Kind::kNull) documents.push_back(std::move(*root));
    }
  } catch (const Refused& refused) {
    return at(file, refused.line, refused.message);
  } catch (const YAML::Exception& error) {
    return at(file, error.mark.line + 1, "not YAML: " + error.msg);
  }
  return documents;
}

}  // namespace freshet
