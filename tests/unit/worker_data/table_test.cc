#include "worker/data/table.h"

#include <gmock/gmock.h>

#include <cstring>
#include <random>

#include "tests/unit/worker_data/support.h"
#include "worker/data/arrow_column.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr auto kNone = std::nullopt;

ColumnRequest text(const std::string& name) { return {name, ColumnUse::kText}; }
ColumnRequest number(const std::string& name) { return {name, ColumnUse::kNumber}; }
ColumnRequest time_of(const std::string& name) { return {name, ColumnUse::kTime}; }

std::vector<std::string> words(const Column& column) {
  const auto& texts = std::get<TextColumn>(column);
  std::vector<std::string> result;
  for (int32_t code : texts.codes) result.push_back(code < 0 ? "<missing>" : texts.values[static_cast<size_t>(code)]);
  return result;
}

template <class ColumnType>
auto values(const Column& column) {
  const auto& typed = std::get<ColumnType>(column);
  Cells<typename decltype(ColumnType::values)::value_type> cells;
  for (size_t row = 0; row < typed.values.size(); ++row) {
    cells.push_back(typed.is_valid(row) ? std::optional(typed.values[row]) : std::nullopt);
  }
  return cells;
}

Cells<double> numbers(const Column& column) { return values<NumberColumn>(column); }
Cells<int64_t> times(const Column& column) { return values<TimeColumn>(column); }

class TableTest : public DataTest {
 protected:
  // The only column of the only entry.
  Column read_one(const ColumnRequest& request) {
    auto table = read({request});
    EXPECT_TRUE(table.is_ok()) << table.status().message();
    return table.is_ok() ? table->entries()[0].columns[0] : Column();
  }
  std::string error_of(const std::vector<ColumnRequest>& requests) {
    auto table = read(requests);
    EXPECT_FALSE(table.is_ok());
    return table.status().message();
  }
};

TEST_F(TableTest, reads_entries_in_the_order_given_for_any_number_of_threads) {
  for (int i = 9; i >= 0; --i) {
    add_parquet("part" + std::to_string(i) + ".parquet", {{"name", text_array({"a", "b" + std::to_string(i)})},
                                                          {"size", int_array({i, 10 * i})},
                                                          {"unused", real_array({1, 2})}});
  }
  for (unsigned threads : {1U, 2U, 3U, 16U}) {
    auto table = read({number("size"), text("name")}, threads);
    ASSERT_TRUE(table.is_ok()) << table.status().message();
    EXPECT_EQ(table->rows(), 20U);
    for (int i = 0; i < 10; ++i) {
      const auto& entry = table->entries()[static_cast<size_t>(i)];
      EXPECT_EQ(entry.uri, "part" + std::to_string(9 - i) + ".parquet");
      EXPECT_EQ(numbers(entry.columns[0]), (Cells<double>{9 - i, 10 * (9 - i)}));
      EXPECT_THAT(words(entry.columns[1]), ElementsAre("a", "b" + std::to_string(9 - i)));
    }
  }
}

TEST_F(TableTest, reads_every_type_of_category) {
  const std::vector<std::pair<Array, std::vector<std::string>>> cases = {
      {text_array({"x", kNone, "", "x"}), {"x", "<missing>", "", "x"}},
      {large_text_array({"x", kNone, "y"}), {"x", "<missing>", "y"}},
      {binary_array({"x", "\xC3\xA9"}), {"x", "\xC3\xA9"}},
      {dictionary_array(text_array({"never", "x", "y"}), {2, kNone, 1, 2}), {"y", "<missing>", "x", "y"}},
      {int_array({10, -2, kNone, 10}), {"10", "-2", "<missing>", "10"}},
      {number_array<arrow::UInt64Builder>(Cells<uint64_t>{UINT64_MAX}), {"18446744073709551615"}},
      {number_array<arrow::Int8Builder>(Cells<int>{-5}), {"-5"}},
      {bool_array({true, false, kNone}), {"true", "false", "<missing>"}},
      {std::make_shared<arrow::NullArray>(2), {"<missing>", "<missing>"}},
  };
  for (const auto& [array, expected] : cases) {
    data.clear_entries();
    add_parquet("x.parquet", {{"c", array}});
    EXPECT_EQ(words(read_one(text("c"))), expected) << array->type()->ToString();
  }
}

// Parquet can't hold a missing word, other readers of Arrow's arrays can give one.
TEST(ArrowColumnTest, a_missing_word_of_a_dictionary_is_a_missing_value) {
  const arrow::ChunkedArray texts(dictionary_array(text_array({"x", kNone}), {1, 0, kNone}));
  EXPECT_THAT(words(*convert_column(texts, text(""))), ElementsAre("<missing>", "x", "<missing>"));
  const arrow::ChunkedArray reals(dictionary_array(real_array({7, kNone}), {1, 0, kNone}));
  EXPECT_EQ(numbers(*convert_column(reals, number(""))), (Cells<double>{kNone, 7, kNone}));
}

TEST_F(TableTest, a_category_that_no_row_uses_is_left_out) {
  add_parquet("x.parquet", {{"c", dictionary_array(text_array({"unused", "x"}), {1, 1})}});
  EXPECT_THAT(std::get<TextColumn>(read_one(text("c"))).values, ElementsAre("x"));
}

TEST_F(TableTest, reads_every_type_of_number) {
  arrow::Decimal128Builder decimals(arrow::decimal128(10, 2));
  ASSERT_TRUE(decimals.Append(arrow::Decimal128(-1250)).ok());
  const std::vector<std::pair<Array, Cells<double>>> cases = {
      {int_array({3, kNone, -4}), {3, kNone, -4}},
      {number_array<arrow::Int8Builder>(Cells<int>{-5}), {-5}},
      {number_array<arrow::Int16Builder>(Cells<int>{-5}), {-5}},
      {number_array<arrow::Int32Builder>(Cells<int>{-5}), {-5}},
      {number_array<arrow::UInt8Builder>(Cells<int>{200}), {200}},
      {number_array<arrow::UInt16Builder>(Cells<int>{60000}), {60000}},
      {number_array<arrow::UInt32Builder>(Cells<uint32_t>{UINT32_MAX}), {4294967295.0}},
      {number_array<arrow::FloatBuilder>(Cells<double>{0.5, kNone}), {0.5, kNone}},
      {real_array({1e300, kNone, -0.25}), {1e300, kNone, -0.25}},
      {bool_array({true, kNone, false}), {1, kNone, 0}},
      {decimals.Finish().ValueOrDie(), {-12.5}},
      {dictionary_array(real_array({7, 8}), {1, kNone, 0}), {8, kNone, 7}},
      {std::make_shared<arrow::NullArray>(1), {kNone}},
  };
  for (const auto& [array, expected] : cases) {
    data.clear_entries();
    add_parquet("x.parquet", {{"c", array}});
    EXPECT_EQ(numbers(read_one(number("c"))), expected) << array->type()->ToString();
  }
}

TEST_F(TableTest, reads_every_type_of_time_as_microseconds) {
  const std::vector<std::pair<Array, Cells<int64_t>>> cases = {
      {time_array(arrow::TimeUnit::SECOND, {2, kNone}), {2'000'000, kNone}},
      {time_array(arrow::TimeUnit::MILLI, {2}), {2'000}},
      {time_array(arrow::TimeUnit::MICRO, {-2}, "Europe/Vienna"), {-2}},
      {time_array(arrow::TimeUnit::NANO, {-1, 1999}), {-1, 1}},
      {date_array({-1, kNone, 2}), {-86'400'000'000, kNone, 172'800'000'000}},
  };
  for (const auto& [array, expected] : cases) {
    data.clear_entries();
    add_parquet("x.parquet", {{"c", array}});
    EXPECT_EQ(times(read_one(time_of("c"))), expected) << array->type()->ToString();
  }
}

TEST_F(TableTest, missing_values_in_a_later_chunk_leave_the_earlier_ones_valid) {
  add_parquet("x.parquet", {{"c", int_array({1, 2, 3, kNone, 5})}, {"t", text_array({"a", "b", "a", kNone, "c"})}}, 2);
  auto table = read({number("c"), text("t")});
  ASSERT_TRUE(table.is_ok()) << table.status().message();
  EXPECT_EQ(numbers(table->entries()[0].columns[0]), (Cells<double>{1, 2, 3, kNone, 5}));
  EXPECT_THAT(words(table->entries()[0].columns[1]), ElementsAre("a", "b", "a", "<missing>", "c"));
}

TEST_F(TableTest, the_same_column_can_be_needed_in_two_ways) {
  add_parquet("x.parquet", {{"c", int_array({7, kNone})}});
  add_bytes("y.csv", "c\n007\n\n8\n");
  auto table = read({text("c"), number("c")});
  ASSERT_TRUE(table.is_ok()) << table.status().message();
  EXPECT_THAT(words(table->entries()[0].columns[0]), ElementsAre("7", "<missing>"));
  EXPECT_EQ(numbers(table->entries()[0].columns[1]), (Cells<double>{7, kNone}));
  EXPECT_THAT(words(table->entries()[1].columns[0]), ElementsAre("007", "8"));
  EXPECT_EQ(numbers(table->entries()[1].columns[1]), (Cells<double>{7, 8}));
}

TEST_F(TableTest, reads_csv_with_quotes_a_byte_order_mark_and_missing_values) {
  add_bytes("x.csv",
            "\xEF\xBB\xBF\"the, \"\"name\"\"\",price,sold,when,day\r\n"
            "\"a, b\",1,true,2026-01-02 03:04:05,2026-01-02\r\n"
            ",,false,,\r\n"
            "NA,2.5,,2026-01-02T03:04:06Z,1969-12-31\r\n");
  auto table = read({text("the, \"name\""), number("price"), number("sold"), time_of("day")});
  ASSERT_TRUE(table.is_ok()) << table.status().message();
  const auto& columns = table->entries()[0].columns;
  EXPECT_THAT(words(columns[0]), ElementsAre("a, b", "<missing>", "NA"));
  EXPECT_EQ(numbers(columns[1]), (Cells<double>{1, kNone, 2.5}));
  EXPECT_EQ(numbers(columns[2]), (Cells<double>{1, 0, kNone}));
  EXPECT_EQ(times(columns[3]), (Cells<int64_t>{1767312000'000'000, kNone, -86'400'000'000}));
}

TEST_F(TableTest, reads_tab_separated_values_and_times_with_an_hour) {
  add_bytes("x.tsv", "when\tn\n2026-01-02 03:04:05\t1\n1969-12-31 23:59:59\t2\n");
  EXPECT_EQ(times(read_one(time_of("when"))), (Cells<int64_t>{1767323045'000'000, -1'000'000}));
}

TEST_F(TableTest, whole_and_broken_numbers_mix_between_csv_files) {
  add_bytes("x.csv", "n\n1\n2\n");
  add_bytes("y.csv", "n\n1.5\n");
  add_bytes("z.csv", "n,m\n,1\n");
  auto table = read({number("n")});
  ASSERT_TRUE(table.is_ok()) << table.status().message();
  EXPECT_EQ(numbers(table->entries()[0].columns[0]), (Cells<double>{1, 2}));
  EXPECT_EQ(numbers(table->entries()[1].columns[0]), (Cells<double>{1.5}));
  EXPECT_EQ(numbers(table->entries()[2].columns[0]), (Cells<double>{kNone}));
}

TEST_F(TableTest, a_file_with_a_header_only_has_no_rows) {
  add_bytes("x.csv", "n\n");
  add_parquet("y.parquet", {{"n", int_array({})}});
  auto table = read({number("n"), text("n")});
  ASSERT_TRUE(table.is_ok()) << table.status().message();
  EXPECT_EQ(table->rows(), 0U);
}

TEST_F(TableTest, names_what_is_wrong_with_a_file) {
  add_parquet("good.parquet", {{"n", int_array({1, 2, 3})}});
  const std::string good = read_bytes("good.parquet");
  uint32_t footer_size = 0;
  std::memcpy(&footer_size, good.data() + good.size() - 8, sizeof footer_size);
  std::string broken_footer = good;
  broken_footer.replace(good.size() - 8 - footer_size, 10, 10, '\x7f');
  std::string broken_page = good;
  broken_page.replace(4, 10, 10, '\x7f');
  struct Case {
    std::string uri;
    std::string bytes;
    Code code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"x.parquet", "", Code::kCorrupt, "x.parquet: the file is empty"},
      {"x.csv", "", Code::kCorrupt, "x.csv: the file is empty"},
      {"x.parquet", "a,b\n1,2\n", Code::kCorrupt, "x.parquet: not a Parquet file (no PAR1 at its start)"},
      {"x.json", "{}", Code::kCorrupt,
       "x.json: neither a Parquet file (no PAR1 at its start) nor named .csv, .tsv or .jsonl"},
      {"x.parquet", "PAR1", Code::kCorrupt, "x.parquet: truncated Parquet file (no PAR1 at its end)"},
      {"x.parquet", good.substr(0, good.size() / 2), Code::kCorrupt,
       "x.parquet: truncated Parquet file (no PAR1 at its end): it was copied in part or is still being written"},
      {"x.parquet", broken_footer, Code::kCorrupt, "x.parquet: damaged Parquet file: "},
      {"x.parquet", broken_page, Code::kCorrupt, "x.parquet: column 'n': damaged Parquet file: "},
      {"x.parquet", "PAR1" + std::string(4, '\xff') + "PAR1", Code::kCorrupt, "x.parquet: damaged Parquet file: "},
      {"x.csv", "n,m\n1,2\n3\n", Code::kCorrupt,
       "x.csv: damaged CSV file: CSV parse error: Row #3: Expected 2 columns, got 1"},
      {"../x.csv", "n\n1\n", Code::kInvalidArgument, "entry '../x.csv' is not a path below its source"},
  };
  for (const auto& c : cases) {
    data.clear_entries();
    if (c.uri.starts_with("..")) {
      data.add_entries()->set_uri(c.uri);
    } else {
      add_bytes(c.uri, c.bytes);
    }
    auto table = read({number("n")});
    ASSERT_FALSE(table.is_ok()) << c.message;
    EXPECT_THAT(table.status().message(), StartsWith(c.message));
    EXPECT_EQ(table.status().code(), c.code) << c.message;
  }
}

TEST_F(TableTest, says_that_a_file_is_gone_or_has_changed) {
  add_bytes("x.csv", "n\n1\n");
  write_bytes("x.csv", "n\n2\n");
  auto changed = read({number("n")});
  ASSERT_FALSE(changed.is_ok());
  EXPECT_EQ(changed.status().code(), Code::kConflict);
  EXPECT_THAT(changed.status().message(),
              StartsWith("x.csv: the file has changed since it was registered: its SHA-256 was " +
                         data.entries(0).sha256() + " and is "));
  data.mutable_entries(0)->clear_sha256();
  EXPECT_TRUE(read({number("n")}).is_ok());

  std::filesystem::remove(directory / "x.csv");
  auto gone = read({number("n")});
  ASSERT_FALSE(gone.is_ok());
  EXPECT_EQ(gone.status().code(), Code::kNotFound);
  EXPECT_EQ(gone.status().message(), "x.csv: the file is no longer there");
}

TEST_F(TableTest, names_the_column_that_is_missing_and_those_that_are_there) {
  add_parquet("a.parquet", {{"n", int_array({1})}});
  add_parquet("b.parquet", {{"m", int_array({1})}, {"k", int_array({1})}});
  EXPECT_EQ(error_of({number("n")}), "column 'n' is missing in b.parquet, which has: m, k");
  data.clear_entries();
  add_bytes("c.csv", "m,k\n1,2\n");
  EXPECT_EQ(error_of({text("n")}), "column 'n' is missing in c.csv, which has: m, k");
}

TEST_F(TableTest, the_first_entry_with_an_error_is_named_whatever_the_threads) {
  for (int i = 0; i < 20; ++i) add_bytes("f" + std::to_string(i) + ".csv", i < 7 ? "n\n1\n" : "m\n1\n");
  for (unsigned threads : {1U, 2U, 5U}) {
    auto table = read({number("n")}, threads);
    ASSERT_FALSE(table.is_ok());
    EXPECT_EQ(table.status().message(), "column 'n' is missing in f7.csv, which has: m");
  }
}

TEST_F(TableTest, names_a_column_of_the_wrong_type) {
  const std::vector<std::tuple<Array, ColumnUse, std::string>> cases = {
      {text_array({"a"}), ColumnUse::kNumber, "column 'c' in x.parquet has the type string, but numbers are needed"},
      {dictionary_array(text_array({"a"}), {0}), ColumnUse::kNumber,
       "column 'c' in x.parquet has the type string, but numbers are needed"},
      {date_array({1}), ColumnUse::kNumber, "column 'c' in x.parquet has the type date32[day], but numbers are needed"},
      {real_array({1}), ColumnUse::kText,
       "column 'c' in x.parquet has the type double, but categories (text, integers or booleans) are needed"},
      {int_array({1}), ColumnUse::kTime,
       "column 'c' in x.parquet has the type int64, but a timestamp or a date is needed"},
      {binary_array({"\xff\xfe"}), ColumnUse::kText, "column 'c' in x.parquet holds text that is not UTF-8"},
      {time_array(arrow::TimeUnit::MILLI, {INT64_MAX}), ColumnUse::kTime,
       "column 'c' in x.parquet has a time outside the years that microseconds can count"},
      {list_array(1), ColumnUse::kNumber,
       "column 'c' in x.parquet has the type list<element: int64>, but numbers are needed"},
  };
  for (const auto& [array, use, message] : cases) {
    data.clear_entries();
    add_parquet("x.parquet", {{"c", array}});
    EXPECT_EQ(error_of({{"c", use}}), message);
  }
  data.clear_entries();
  add_bytes("x.csv", "c\n1\ntwo\n");
  EXPECT_EQ(error_of({number("c")}), "column 'c' in x.csv has the type string, but numbers are needed");
}

TEST_F(TableTest, refuses_a_column_that_is_there_twice) {
  add_bytes("x.csv", "c,c\n1,2\n");
  EXPECT_EQ(error_of({number("c")}), "column 'c' is there 2 times in x.csv");
}

TEST_F(TableTest, refuses_a_source_that_is_no_directory_of_this_machine) {
  data.set_source_uri("s3://bucket/x");
  EXPECT_EQ(error_of({}), "the source 's3://bucket/x' is not a file:// URI");
  data.set_source_uri("file://x/y");
  EXPECT_EQ(error_of({}), "the source 'file://x/y' names no absolute path");
}

TEST_F(TableTest, splits_a_version_in_training_and_holdout) {
  for (const char* uri : {"a.csv", "b.csv", "c.csv"}) add_bytes(uri, "n\n1\n");
  auto training = without_entries(data, {"c.csv", "a.csv"});
  auto holdout = only_entries(data, {"c.csv", "a.csv"});
  ASSERT_TRUE(training.is_ok() && holdout.is_ok());
  ASSERT_EQ(training->entries_size(), 1);
  EXPECT_EQ(training->entries(0).uri(), "b.csv");
  EXPECT_EQ(training->source_uri(), data.source_uri());
  ASSERT_EQ(holdout->entries_size(), 2);
  EXPECT_EQ(holdout->entries(0).uri(), "a.csv");
  EXPECT_EQ(without_entries(data, {"d.csv"}).status().message(), "entry 'd.csv' is not in the dataset version");
}

// Bytes from outside may be anything: whatever they are, there is an answer.
TEST_F(TableTest, every_prefix_and_many_bit_flips_of_a_file_are_answered) {
  add_parquet("good.parquet", {{"n", int_array({1, kNone, 3})}, {"t", text_array({"a", "b", kNone})}}, 2);
  const std::string good = read_bytes("good.parquet");
  data.clear_entries();
  data.add_entries()->set_uri("x.parquet");
  for (size_t size = 0; size < good.size(); size += 7) {
    write_bytes("x.parquet", good.substr(0, size));
    EXPECT_FALSE(read({number("n"), text("t")}).is_ok()) << size;
  }
  constexpr unsigned kSeed = 20261101;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int i = 0; i < 500; ++i) {
    std::string bytes = good;
    bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    write_bytes("x.parquet", bytes);
    auto table = read({number("n"), text("t")}, 1);
    if (table.is_ok()) continue;
    EXPECT_THAT(table.status().message(), HasSubstr("x.parquet"));
  }
}

}  // namespace
}  // namespace freshet::worker
