// Reading in batches: formats, parts, and what is in memory meanwhile.
#include "worker/data/table_stream.h"

#include <gmock/gmock.h>
#include <malloc.h>
#include <parquet/arrow/writer.h>
#include <sys/resource.h>

#include <arrow/io/file.h>

#include <cmath>
#include <fstream>
#include <mutex>

#include "tests/unit/worker_data/support.h"
#include "worker/data/training_rows.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;

constexpr auto kNone = std::nullopt;

std::shared_ptr<Scratch> heap() { return std::make_shared<Scratch>(size_t{1} << 40, "/nonexistent"); }

class TableStreamTest : public DataTest {
 protected:
  Result<TrainingRows> prepare(const v1::TabularModel& model, unsigned threads,
                               const std::shared_ptr<Scratch>& scratch = heap()) {
    ASSIGN_OR_RETURN(const auto stream, TableStream::open(data, training_columns(model), threads));
    return prepare_rows(model, stream, nullptr, scratch, threads);
  }
  std::string error_of(const v1::TabularModel& model) {
    auto prepared = prepare(model, 1);
    EXPECT_FALSE(prepared.is_ok());
    return prepared.status().message();
  }
};

TEST_F(TableStreamTest, json_lines_read_as_the_same_rows_in_parquet) {
  add_bytes("a.jsonl", R"({"c": "red", "n": 1.5, "t": "2020-01-01 05:00:00", "tags": ["a", "b"], "y": 1})"
                       "\n"
                       R"({"tags": [], "c": "2020-01-01", "y": 0})"
                       "\n"
                       R"({"c": null, "n": 2, "t": "2020-01-02 06:00:00", "y": true})"
                       "\n");
  const v1::TabularModel model = RecipeBuilder()
                                     .categorical("c")
                                     .numeric("n")
                                     .numeric("t", v1::Feature::HOUR_OF_DAY)
                                     .categorical("tags")
                                     .with([](auto* feature) { feature->set_multi_valued(true); })
                                     .binary("y");
  EXPECT_THAT(error_of(model), testing::StartsWith("a.jsonl: damaged JSON lines: JSON parse error"));  // 1 and true
  data.clear_entries();
  std::string text = read_bytes("a.jsonl");
  text.replace(text.find("true"), 4, "1");
  add_bytes("a.jsonl", text);
  auto prepared = prepare(model, 1);
  ASSERT_TRUE(prepared.is_ok()) << prepared.status().message();
  EXPECT_THAT(prepared->rows.categorical, ElementsAre(ElementsAre(2, 1, 0), ElementsAre(1, 2)));
  EXPECT_THAT(prepared->rows.ends[1], ElementsAre(2, 2, 2));
  EXPECT_THAT(prepared->rows.numeric, ElementsAre(ElementsAre(-1, 0, 1), ElementsAre(-1, 0, 1)));
  EXPECT_THAT(prepared->rows.label, ElementsAre(1, 0, 1));
}

TEST_F(TableStreamTest, names_come_from_the_recipe_where_a_file_has_no_header) {
  // As Criteo's rows: a label, whole numbers and hexadecimal words, of which any may be missing.
  add_bytes("day_0.tsv", "0\t5\t\t68fd1e64\t\n1\t\t-1\t\t80e26c9b\n0\t7\t3\t68fd1e64\t80e26c9b\n");
  v1::TabularModel model = RecipeBuilder()
                               .numeric("i1", v1::Feature::LOG)
                               .numeric("i2", v1::Feature::LOG)
                               .categorical("c1")
                               .categorical("c2")
                               .with([](auto* feature) { feature->set_hash_buckets(100); })
                               .binary("label");
  for (const char* name : {"label", "i1", "i2", "c1", "c2"}) model.add_column_names(name);
  auto prepared = prepare(model, 2);
  ASSERT_TRUE(prepared.is_ok()) << prepared.status().message();
  EXPECT_EQ(prepared->rows.rows, 3U);
  EXPECT_THAT(prepared->rows.label, ElementsAre(0, 1, 0));
  EXPECT_THAT(prepared->rows.categorical[0], ElementsAre(1, 0, 1));
  EXPECT_THAT(prepared->rows.numeric[1], ElementsAre(0, -1, 1));
  model.add_column_names("c3");
  EXPECT_THAT(error_of(model), testing::StartsWith("day_0.tsv: damaged CSV file: CSV parse error"));
}

// Longer than a block, whose ends fall anywhere.
TEST_F(TableStreamTest, blocks_of_text_make_the_rows_of_the_whole) {
  std::string csv = "word,n,y\n";
  size_t rows = 0;
  for (; csv.size() < kBatchBytes + kBatchBytes / 2; ++rows) {
    csv += "\"a \"\"quoted\"\"\nword, number " + std::to_string(rows % 100) + "\"," +
           (rows < 1000 ? std::to_string(rows) : std::to_string(rows) + ".5") + "," + std::to_string(rows % 2) + "\n";
  }
  add_bytes("long.csv", csv);
  const v1::TabularModel model = RecipeBuilder().categorical("word").numeric("n").binary("y");
  auto stream = TableStream::open(data, training_columns(model), 1);
  ASSERT_TRUE(stream.is_ok()) << stream.status().message();
  size_t batches = 0;
  ASSERT_TRUE(stream->for_each(1, [&](size_t, const Table&) { return ++batches, Status::ok(); }).is_ok());
  EXPECT_EQ(batches, 2U);
  auto prepared = prepare_rows(model, *stream, nullptr, heap(), 1);
  ASSERT_TRUE(prepared.is_ok()) << prepared.status().message();
  EXPECT_EQ(prepared->rows.rows, rows);
  EXPECT_THAT(prepared->transform.cardinalities(), ElementsAre(101));
  const double mean = prepared->transform.state().scalings(0).mean(),
               scale = prepared->transform.state().scalings(0).scale();
  EXPECT_FLOAT_EQ(prepared->rows.numeric[0].back(),
                  static_cast<float>((static_cast<double>(rows - 1) + 0.5 - mean) / scale));

  data.clear_entries();
  add_bytes("long.csv", csv + "last,row\n");
  EXPECT_THAT(error_of(model), testing::MatchesRegex("long.csv: damaged CSV file: after [0-9]+ rows: .*"));
  data.clear_entries();
  add_bytes("long.csv", csv + "word,many,1\n");
  EXPECT_EQ(error_of(model), "column 'n' in long.csv has the type string, but numbers are needed");
}

v1::TabularModel many_columns() {
  return RecipeBuilder()
      .numeric("x")
      .categorical("c")
      .categorical("tags")
      .with([](auto* feature) { feature->set_multi_valued(true); })
      .numeric("pair")
      .with([](auto* feature) { feature->set_length(2); })
      .regression("y")
      .weighted("w");
}

// What one table of all rows gives is the truth.
TEST_F(TableStreamTest, parts_and_threads_do_not_change_a_bit) {
  for (int file = 0; file < 3; ++file) {
    Cells<double> x, y, w;
    Cells<std::string> c;
    Cells<Cells<std::string>> tags;
    Cells<Cells<double>> pair;
    for (int row = 0; row < 500; ++row) {
      const double at = file * 500 + row;
      x.push_back(row % 11 == 0 ? std::optional<double>() : std::sin(at) * 1e6);
      y.push_back(row % 13 == 0 ? std::optional<double>() : std::cos(at));
      w.push_back(row % 7);
      c.push_back("w" + std::to_string((file * 7 + row) % 97));
      tags.push_back(Cells<std::string>(static_cast<size_t>(row % 4), "t" + std::to_string(row % 23)));
      pair.push_back(Cells<double>{at, 1 / (at + 1)});
    }
    add_parquet("f" + std::to_string(file) + ".parquet",
                {{"x", real_array(x)},
                 {"y", real_array(y)},
                 {"w", real_array(w)},
                 {"c", text_array(c)},
                 {"tags", text_lists(tags)},
                 {"pair", number_lists(pair)}},
                70);
  }
  const auto model = many_columns();
  const auto table = read(required_columns(model));
  ASSERT_TRUE(table.is_ok()) << table.status().message();
  auto transform = Transform::fit(model, *table, nullptr);
  ASSERT_TRUE(transform.is_ok()) << transform.status().message();
  const auto rows = *transform->encode(*table);
  for (unsigned threads : {1U, 2U, 5U}) {
    // The second lies in files as a whole.
    const auto scratch = threads == 2 ? std::make_shared<Scratch>(0, directory) : heap();
    auto prepared = prepare(model, threads, scratch);
    ASSERT_TRUE(prepared.is_ok()) << prepared.status().message();
    EXPECT_EQ(prepared->transform.to_json(), transform->to_json()) << threads;
    EXPECT_EQ(prepared->rows.rows, rows.rows);
    EXPECT_EQ(prepared->rows.entry_uris, rows.entry_uris);
    EXPECT_TRUE(std::equal(rows.entry.begin(), rows.entry.end(), prepared->rows.entry.begin()));
    auto expect_same = [threads](const auto& is, const auto& should) {
      ASSERT_EQ(is.size(), should.size());
      EXPECT_TRUE(std::equal(should.begin(), should.end(), is.begin())) << threads;
    };
    for (size_t i = 0; i < rows.categorical.size(); ++i)
      expect_same(prepared->rows.categorical[i], rows.categorical[i]);
    for (size_t i = 0; i < rows.ends.size(); ++i) expect_same(prepared->rows.ends[i], rows.ends[i]);
    for (size_t i = 0; i < rows.numeric.size(); ++i) expect_same(prepared->rows.numeric[i], rows.numeric[i]);
    expect_same(prepared->rows.label, rows.label);
    expect_same(prepared->rows.weight, rows.weight);
  }
}

TEST_F(TableStreamTest, a_file_that_changes_while_it_is_read_is_refused) {
  add_bytes("a.csv", "x,y\n1,0\n2,1\n");
  const v1::TabularModel model = RecipeBuilder().numeric("x").binary("y");
  auto stream = TableStream::open(data, training_columns(model), 1);
  ASSERT_TRUE(stream.is_ok());
  write_bytes("a.csv", "x,y\n1,0\n3,1\n");
  auto status = stream->for_each(1, [](size_t, const Table&) { return Status::ok(); });
  EXPECT_EQ(status.code(), Code::kConflict);
  EXPECT_EQ(status.message(), "a.csv: the file has changed while it was read");
}

// Bytes of memory of this process's own that may still be taken, until the end of the object.
class MemoryLimit {
 public:
  explicit MemoryLimit(size_t bytes) {
    ::malloc_trim(0);
    arrow::default_memory_pool()->ReleaseUnused();
    ::getrlimit(RLIMIT_DATA, &before_);
    rlimit limit = before_;
    limit.rlim_cur = data_bytes() + bytes;
    ::setrlimit(RLIMIT_DATA, &limit);
  }
  ~MemoryLimit() { ::setrlimit(RLIMIT_DATA, &before_); }

 private:
  static size_t data_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmData:")) return std::stoull(line.substr(7)) << 10;
    }
    ADD_FAILURE() << "no VmData";
    return 0;
  }
  rlimit before_{};
};

constexpr int kColumns = 6;
constexpr int64_t kGroupRows = 1 << 16, kGroups = 24;

// A file of `kColumns` columns of numbers, as one row group holds them and as a whole: 3 MiB and 72 MiB.
void write_large(const std::string& path) {
  arrow::FieldVector fields;
  for (int i = 0; i < kColumns; ++i) fields.push_back(arrow::field("x" + std::to_string(i), arrow::float64()));
  auto output = arrow::io::FileOutputStream::Open(path).ValueOrDie();
  auto properties = parquet::WriterProperties::Builder().disable_dictionary()->build();
  auto writer =
      parquet::arrow::FileWriter::Open(*arrow::schema(fields), arrow::default_memory_pool(), output, properties)
          .ValueOrDie();
  for (int64_t group = 0; group < kGroups; ++group) {
    arrow::ArrayVector columns;
    for (int i = 0; i < kColumns; ++i) {
      arrow::DoubleBuilder builder;
      for (int64_t row = 0; row < kGroupRows; ++row) {
        const double at = static_cast<double>(group * kGroupRows + row);
        ASSERT_TRUE(builder.Append(i == 0 ? std::fmod(at, 2) : at * (i + 1)).ok());
      }
      columns.push_back(builder.Finish().ValueOrDie());
    }
    ASSERT_TRUE(writer->WriteTable(*arrow::Table::Make(arrow::schema(fields), columns), kGroupRows).ok());
  }
  ASSERT_TRUE(writer->Close().ok());
}

TEST_F(TableStreamTest, a_file_larger_than_the_memory_allowed_is_prepared) {
  write_large((directory / "large.parquet").string());
  auto* entry = data.add_entries();
  entry->set_uri("large.parquet");
  ASSERT_GT(std::filesystem::file_size(directory / "large.parquet"), size_t{64} << 20);
  RecipeBuilder builder;
  for (int i = 1; i < kColumns; ++i) builder.numeric("x" + std::to_string(i));
  const v1::TabularModel model = builder.binary("x0");
  // The encoded rows are 42 MiB, the numbers that are fitted 60, and the stack of the second thread 8.
  Result<TrainingRows> prepared = internal("not prepared");
  {
    const MemoryLimit limit(size_t{40} << 20);
    prepared = prepare(model, 2, std::make_shared<Scratch>(size_t{1} << 20, directory));
  }
  ASSERT_TRUE(prepared.is_ok()) << prepared.status().message();
  EXPECT_EQ(prepared->rows.rows, static_cast<size_t>(kGroups * kGroupRows));
  const auto& last = prepared->rows.numeric.back();
  EXPECT_NEAR(last.back(), std::sqrt(3.0), 1e-3);  // the end of an even distribution
  EXPECT_NEAR(last.front(), -std::sqrt(3.0), 1e-3);
}

TEST_F(TableStreamTest, rows_that_fit_nowhere_are_an_error) {
  std::string csv = "x,y\n";
  for (int row = 0; row < 20'000; ++row) csv += std::to_string(row) + "," + std::to_string(row % 2) + "\n";
  add_bytes("a.csv", csv);
  auto prepared = prepare(RecipeBuilder().numeric("x").binary("y"), 1, std::make_shared<Scratch>(0, "/nonexistent"));
  ASSERT_FALSE(prepared.is_ok());
  EXPECT_EQ(prepared.status().code(), Code::kResourceExhausted);
  EXPECT_THAT(prepared.status().message(), testing::HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace freshet::worker
