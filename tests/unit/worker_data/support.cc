#include "tests/unit/worker_data/support.h"

#include <arrow/io/memory.h>
#include <parquet/properties.h>

#include <algorithm>
#include <fstream>
#include <variant>

#include "base/file.h"
#include "base/sha256.h"

namespace freshet::worker {
namespace {

template <class Builder, class T>
Array built(Builder* builder, const Cells<T>& cells) {
  for (const auto& cell : cells) {
    auto status = cell ? builder->Append(*cell) : builder->AppendNull();
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return builder->Finish().ValueOrDie();
}

template <class ValueBuilder, class T>
Array lists(const Cells<Cells<T>>& rows) {
  auto values = std::make_shared<ValueBuilder>();
  arrow::ListBuilder builder(arrow::default_memory_pool(), values);
  for (const auto& row : rows) {
    EXPECT_TRUE((row ? builder.Append() : builder.AppendNull()).ok());
    if (!row) continue;
    for (const auto& cell : *row) EXPECT_TRUE((cell ? values->Append(*cell) : values->AppendNull()).ok());
  }
  return builder.Finish().ValueOrDie();
}

void append(const TextColumn& from, TextColumn* to) {
  std::vector<int32_t> codes;
  for (const auto& value : from.values) {
    const auto at = std::find(to->values.begin(), to->values.end(), value);
    codes.push_back(static_cast<int32_t>(at - to->values.begin()));
    if (at == to->values.end()) to->values.push_back(value);
  }
  const auto before = static_cast<uint32_t>(to->codes.size());
  for (int32_t code : from.codes) to->codes.push_back(code < 0 ? code : codes[static_cast<size_t>(code)]);
  for (uint32_t end : from.ends) to->ends.push_back(before + end);
}

// Of columns with one value a row.
template <class ColumnType>
void append(const ColumnType& from, ColumnType* to) {
  if (!from.valid.empty() || !to->valid.empty()) {
    to->valid.resize(to->values.size(), 1);
    for (size_t row = 0; row < from.values.size(); ++row) to->valid.push_back(from.is_valid(row) ? 1 : 0);
  }
  to->values.insert(to->values.end(), from.values.begin(), from.values.end());
}

void append(const Table::Entry& from, Table::Entry* to) {
  to->uri = from.uri;
  if (to->columns.empty()) {
    to->rows = from.rows;
    to->columns = from.columns;
    return;
  }
  to->rows += from.rows;
  for (size_t i = 0; i < from.columns.size(); ++i) {
    std::visit([&](const auto& column) { append(column, &std::get<std::decay_t<decltype(column)>>(to->columns[i])); },
               from.columns[i]);
  }
}

}  // namespace

Array text_array(const Cells<std::string>& cells) {
  arrow::StringBuilder builder;
  return built(&builder, cells);
}

Array large_text_array(const Cells<std::string>& cells) {
  arrow::LargeStringBuilder builder;
  return built(&builder, cells);
}

Array binary_array(const Cells<std::string>& cells) {
  arrow::BinaryBuilder builder;
  return built(&builder, cells);
}

Array bool_array(const Cells<bool>& cells) {
  arrow::BooleanBuilder builder;
  return built(&builder, cells);
}

Array time_array(arrow::TimeUnit::type unit, const Cells<int64_t>& cells, const std::string& zone) {
  arrow::TimestampBuilder builder(arrow::timestamp(unit, zone), arrow::default_memory_pool());
  return built(&builder, cells);
}

Array date_array(const Cells<int32_t>& days) {
  arrow::Date32Builder builder;
  return built(&builder, days);
}

Array dictionary_array(const Array& words, const Cells<int32_t>& indices) {
  arrow::Int32Builder builder;
  auto codes = built(&builder, indices);
  return arrow::DictionaryArray::FromArrays(arrow::dictionary(arrow::int32(), words->type()), codes, words)
      .ValueOrDie();
}

Result<Table> read_table(const v1::DatasetVersion& data, const ColumnSet& columns, unsigned threads) {
  ASSIGN_OR_RETURN(const auto stream, TableStream::open(data, columns, threads));
  std::vector<Table::Entry> parts(stream.parts());
  RETURN_IF_ERROR(stream.for_each(threads, [&](size_t part, const Table& batch) {
    append(batch.entries()[0], &parts[part]);
    return Status::ok();
  }));
  std::vector<Table::Entry> entries(static_cast<size_t>(data.entries_size()));
  for (size_t part = 0; part < parts.size(); ++part) append(parts[part], &entries[stream.entry_of(part)]);
  return Table(columns.requests, std::move(entries));
}

Array list_array(size_t rows) {
  auto values = std::make_shared<arrow::Int64Builder>();
  arrow::ListBuilder builder(arrow::default_memory_pool(), values);
  for (size_t row = 0; row < rows; ++row) {
    EXPECT_TRUE(builder.Append().ok());
    EXPECT_TRUE(values->Append(static_cast<int64_t>(row)).ok());
  }
  return builder.Finish().ValueOrDie();
}

Array text_lists(const Cells<Cells<std::string>>& rows) { return lists<arrow::StringBuilder>(rows); }

Array number_lists(const Cells<Cells<double>>& rows) { return lists<arrow::DoubleBuilder>(rows); }

Array int_array(const Cells<int64_t>& cells) { return number_array<arrow::Int64Builder>(cells); }

Array real_array(const Cells<double>& cells) { return number_array<arrow::DoubleBuilder>(cells); }

DataTest::DataTest() {
  std::string pattern = (std::filesystem::temp_directory_path() / "freshet-data-XXXXXX").string();
  directory = mkdtemp(pattern.data());
  data.set_source_uri("file://" + directory.string());
}

DataTest::~DataTest() { std::filesystem::remove_all(directory); }

void DataTest::add_parquet(const std::string& uri, const NamedArrays& columns, int64_t rows_per_group) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (const auto& [name, array] : columns) {
    fields.push_back(arrow::field(name, array->type()));
    arrays.push_back(array);
  }
  auto table = arrow::Table::Make(arrow::schema(fields), arrays);
  auto output = arrow::io::BufferOutputStream::Create().ValueOrDie();
  // With the Arrow schema, so that dictionaries and large strings come back as what they were.
  auto arrow_properties = parquet::ArrowWriterProperties::Builder().store_schema()->build();
  auto status = parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), output, rows_per_group,
                                           parquet::default_writer_properties(), arrow_properties);
  ASSERT_TRUE(status.ok()) << status.ToString();
  add_bytes(uri, output->Finish().ValueOrDie()->ToString());
}

void DataTest::add_bytes(const std::string& uri, const std::string& bytes) {
  write_bytes(uri, bytes);
  auto* entry = data.add_entries();
  entry->set_uri(uri);
  entry->set_size(bytes.size());
  entry->set_sha256(Sha256::hex_of(bytes));
}

void DataTest::write_bytes(const std::string& uri, const std::string& bytes) {
  // A new file: truncating one that exists makes ext4 flush it at once, which takes milliseconds.
  std::filesystem::remove(directory / uri);
  std::ofstream file(directory / uri, std::ios::binary | std::ios::trunc);
  file << bytes;
  ASSERT_TRUE(file.good());
}

std::string DataTest::read_bytes(const std::string& uri) const { return *read_file(directory / uri); }

RecipeBuilder& RecipeBuilder::numeric(const std::string& column, v1::Feature::Derive derive) {
  auto* feature = model_.add_features();
  feature->set_column(column);
  feature->set_kind(v1::Feature::NUMERIC);
  feature->set_derive(derive);
  return *this;
}

RecipeBuilder& RecipeBuilder::categorical(const std::string& column, v1::Feature::Derive derive,
                                          uint32_t embedding_dim) {
  auto* feature = model_.add_features();
  feature->set_column(column);
  feature->set_kind(v1::Feature::CATEGORICAL);
  feature->set_derive(derive);
  feature->set_embedding_dim(embedding_dim);
  return *this;
}

RecipeBuilder& RecipeBuilder::binary(const std::string& column, std::optional<double> positive_above) {
  model_.mutable_label()->set_column(column);
  model_.mutable_label()->set_task(v1::Label::BINARY);
  if (positive_above) model_.mutable_label()->set_positive_above(*positive_above);
  return *this;
}

RecipeBuilder& RecipeBuilder::regression(const std::string& column) {
  model_.mutable_label()->set_column(column);
  model_.mutable_label()->set_task(v1::Label::REGRESSION);
  return *this;
}

RecipeBuilder& RecipeBuilder::multiclass(const std::string& column) {
  model_.mutable_label()->set_column(column);
  model_.mutable_label()->set_task(v1::Label::MULTICLASS);
  return *this;
}

RecipeBuilder& RecipeBuilder::weighted(const std::string& column) {
  model_.set_weight_column(column);
  return *this;
}

RecipeBuilder& RecipeBuilder::with(const std::function<void(v1::Feature*)>& change) {
  change(model_.mutable_features(model_.features_size() - 1));
  return *this;
}

}  // namespace freshet::worker
