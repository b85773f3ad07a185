#include "cli/render/table.h"

#include <algorithm>

namespace freshet::cli {
namespace {

constexpr size_t kGap = 3;

const char* code_of(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kGood:
      return "\033[32m";
    case Style::kBad:
      return "\033[31m";
    case Style::kBusy:
      return "\033[36m";
    case Style::kDim:
      return "\033[2m";
  }
  return "";
}

// The length of the UTF-8 character at `at`; 0 when there is none.
size_t character_at(std::string_view text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  const size_t size = byte < 0x80                   ? 1
                      : byte >= 0xc2 && byte < 0xe0 ? 2
                      : (byte & 0xf0) == 0xe0       ? 3
                      : byte >= 0xf0 && byte < 0xf5 ? 4
                                                    : 0;
  if (size == 0 || text.size() - at < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return 0;
  }
  return size;
}

std::string padded(const std::string& text, size_t width) {
  const size_t have = display_width(text);
  return text + std::string(width > have ? width - have : 0, ' ');
}

void end_line(std::string* text) {
  while (text->ends_with(' ')) text->pop_back();
  *text += '\n';
}

}  // namespace

std::string safe_text(std::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size();) {
    const size_t size = character_at(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (size == 1 && (byte == '\n' || byte == '\t')) {
      safe += ' ';
    } else if (size == 0 || (size == 1 && (byte < 0x20 || byte == 0x7f))) {
      safe += '?';
    } else if (size == 2 && byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      safe += '?';  // the second set of control characters
    } else {
      safe.append(text.substr(i, size));
    }
    i += std::max<size_t>(size, 1);
  }
  return safe;
}

size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string styled(const Cell& cell, const RenderOptions& options) {
  const std::string text = safe_text(cell.text);
  if (!options.color || cell.style == Style::kPlain || text.empty()) return text;
  return code_of(cell.style) + text + "\033[0m";
}

std::string Table::render(const RenderOptions& options, size_t indent) const {
  std::vector<size_t> widths(headers_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(safe_text(row[i].text)));
    }
  }
  const std::string margin(indent, ' ');
  std::string text = margin;
  for (size_t i = 0; i < headers_.size(); ++i) {
    if (widths[i] == 0 && !rows_.empty()) continue;
    widths[i] = std::max(widths[i], headers_[i].size());
    text += padded(headers_[i], widths[i] + kGap);
  }
  end_line(&text);
  for (const auto& row : rows_) {
    std::string line = margin;
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      if (widths[i] == 0) continue;
      const size_t width = display_width(safe_text(row[i].text));
      line += styled(row[i], options) + std::string(widths[i] - width + kGap, ' ');
    }
    end_line(&line);
    text += line;
  }
  return text;
}

std::string Details::render(const RenderOptions& options) const {
  size_t width = 0;
  for (const auto& [name, value] : pairs_) {
    if (!value.text.empty()) width = std::max(width, display_width(name));
  }
  std::string text;
  for (const auto& [name, value] : pairs_) {
    if (value.text.empty()) continue;
    text += padded(name, width + kGap) + styled(value, options);
    end_line(&text);
  }
  return text;
}

}  // namespace freshet::cli
