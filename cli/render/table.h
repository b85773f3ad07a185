// Tables for people: upper-case headers, aligned columns, colours where the terminal has them. Pure; one thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace freshet::cli {

struct RenderOptions {
  bool color = false;
  Time now;  // ages are counted up to here
};

enum class Style { kPlain, kGood, kBad, kBusy, kDim };

struct Cell {
  Cell(std::string value, Style look = Style::kPlain) : text(std::move(value)), style(look) {}
  Cell(const char* value) : text(value) {}
  std::string text;
  Style style = Style::kPlain;
};

class Table {
 public:
  explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool is_empty() const { return rows_.empty(); }
  // `indent` spaces before each line. Columns in which every cell is empty are left out.
  std::string render(const RenderOptions& options, size_t indent = 0) const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<Cell>> rows_;
};

// "Name   value" lines; pairs with an empty value are left out.
class Details {
 public:
  void add(std::string name, Cell value) { pairs_.emplace_back(std::move(name), std::move(value)); }
  std::string render(const RenderOptions& options) const;

 private:
  std::vector<std::pair<std::string, Cell>> pairs_;
};

// Without control characters and bytes that are no UTF-8, which could move the cursor or change the terminal; one line.
std::string safe_text(std::string_view text);

// Columns on a terminal, counting one a code point.
size_t display_width(std::string_view text);

// The text in the style's colour.
std::string styled(const Cell& cell, const RenderOptions& options);

}  // namespace freshet::cli
