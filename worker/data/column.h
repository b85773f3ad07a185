// Raw columns as plain memory, free of Arrow: what the files hold after decoding and before any transform. A caller
// asks for a column by name and use, and the reader converts it once, whatever the file's type. Values only; no
// threads of its own; immutable once read.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace freshet::worker {

// What a column is needed as. The same column may be needed in several ways.
enum class ColumnUse {
  kText,        // categories: strings, integers (as their decimal text) and booleans ("true", "false")
  kNumber,      // integers, floats, decimals, and booleans as 0 and 1
  kTime,        // timestamps and dates; a timestamp without a zone is taken as UTC
  kTextList,    // lists of what kText is
  kNumberList,  // lists of what kNumber is, each of the request's length
};

struct ColumnRequest {
  std::string name;
  ColumnUse use = ColumnUse::kText;
  uint32_t length = 0;  // kNumberList only

  auto operator<=>(const ColumnRequest&) const = default;
};

// What is to be read of files.
struct ColumnSet {
  std::vector<ColumnRequest> requests;  // sorted, without doubles
  std::vector<std::string> header;      // the columns' names in delimited text that has no line of them; else empty
};

struct TextColumn {
  std::vector<std::string> values;  // distinct, each used by at least one row, in order of first use
  std::vector<int32_t> codes;       // [row] index into `values`, -1: missing
  // kTextList only: [row] where the row's codes end; they begin where the row before ends. Missing ones are left out.
  std::vector<uint32_t> ends;
};

struct NumberColumn {
  std::vector<double> values;  // [row], kNumberList: [row][length]; 0 where missing
  std::vector<uint8_t> valid;  // [row] 0: missing; empty: no row is missing

  bool is_valid(size_t row) const { return valid.empty() || valid[row] != 0; }
};

struct TimeColumn {
  std::vector<int64_t> values;  // [row] microseconds since 1970, UTC; 0 where missing
  std::vector<uint8_t> valid;

  bool is_valid(size_t row) const { return valid.empty() || valid[row] != 0; }
};

using Column = std::variant<TextColumn, NumberColumn, TimeColumn>;

}  // namespace freshet::worker
