#include "tests/house/source_text.h"

#include <cctype>

namespace freshet::house {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Walks over the text once and blanks what is not code.
class Blanker {
 public:
  explicit Blanker(std::string_view text) : text_(text), code_(text) {}

  std::string run(std::vector<Comment>* comments) {
    while (at_ < text_.size()) {
      if (starts("//")) {
        comment(text_.find('\n', at_), 2, 0, comments);
      } else if (starts("/*")) {
        size_t end = text_.find("*/", at_ + 2);
        comment(end == std::string_view::npos ? end : end + 2, 2, 2, comments);
      } else if (starts("R\"") && (at_ == 0 || !is_word(text_[at_ - 1]))) {
        raw_string();
      } else if (text_[at_] == '"' || (text_[at_] == '\'' && (at_ == 0 || !is_word(text_[at_ - 1])))) {
        literal(text_[at_]);
      } else {
        ++at_;
      }
    }
    return std::move(code_);
  }

 private:
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  void blank(size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      if (code_[i] != '\n') code_[i] = ' ';
    }
  }

  void comment(size_t end, size_t opening, size_t closing, std::vector<Comment>* comments) {
    if (end == std::string_view::npos) end = text_.size();
    size_t line = 1;
    for (size_t i = 0; i < at_; ++i) line += text_[i] == '\n' ? 1 : 0;
    size_t inner_end = end >= at_ + opening + closing ? end - closing : end;
    for (const auto& part : split_lines(text_.substr(at_ + opening, inner_end - at_ - opening))) {
      auto body = trimmed(part);
      while (opening == 2 && closing == 2 && body.starts_with('*')) body = trimmed(body.substr(1));
      comments->push_back({line++, std::string(body)});
    }
    blank(at_, end);
    at_ = end;
  }

  void raw_string() {
    size_t open = text_.find('(', at_);
    if (open == std::string_view::npos) {
      at_ = text_.size();
      return;
    }
    std::string close = ")" + std::string(text_.substr(at_ + 2, open - at_ - 2)) + "\"";
    size_t end = text_.find(close, open);
    end = end == std::string_view::npos ? text_.size() : end + close.size();
    blank(at_, end);
    at_ = end;
  }

  void literal(char quote) {
    size_t begin = at_++;
    while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_, text_.size());
    blank(begin + 1, at_);
    if (at_ < text_.size()) ++at_;
  }

  std::string_view text_;
  std::string code_;
  size_t at_ = 0;
};

std::vector<Include> includes_of(const SourceText& source) {
  std::vector<Include> includes;
  for (size_t i = 0; i < source.lines.size(); ++i) {
    auto code = trimmed(source.code[i]);
    if (!code.starts_with('#') || !trimmed(code.substr(1)).starts_with("include")) continue;
    const auto& line = source.lines[i];
    size_t begin = line.find_first_of("\"<");
    if (begin == std::string::npos) continue;
    size_t end = line.find(line[begin] == '"' ? '"' : '>', begin + 1);
    if (end == std::string::npos) continue;
    includes.push_back({i + 1, line[begin] == '"', line.substr(begin + 1, end - begin - 1)});
  }
  return includes;
}

}  // namespace

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    size_t end = text.find('\n');
    if (end == std::string_view::npos) end = text.size();
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

bool contains_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    bool before = at == 0 || !is_word(word.front()) || !is_word(text[at - 1]);
    size_t end = at + word.size();
    bool behind = end == text.size() || !is_word(word.back()) || !is_word(text[end]);
    if (before && behind) return true;
  }
  return false;
}

SourceText read_cpp(std::string_view text) {
  SourceText source;
  source.lines = split_lines(text);
  source.code = split_lines(Blanker(text).run(&source.comments));
  source.includes = includes_of(source);
  return source;
}

}  // namespace freshet::house
