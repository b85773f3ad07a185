#include "worker/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace freshet::worker {
namespace {

std::string file(const std::string& header, size_t data_bytes = 0) {
  uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data_bytes, 'x');
}

TEST(Safetensors, ReadsWhatItWrites) {
  std::vector<float> values = {1, -2, 3.5F, 0, 7, 8, 9};
  std::vector<TensorView> tensors = {
      {"b \"quoted\" \\ \n é", {2, 3}, 1, 6}, {"a", {1}, 0, 1}, {"none", {0, 4}, 7, 0}, {"scalar", {}, 3, 1}};
  std::string bytes = write_safetensors(tensors, values.data());
  EXPECT_EQ(bytes, write_safetensors(tensors, values.data()));
  auto read = parse_safetensors(bytes);
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  ASSERT_EQ(read->tensors.size(), 4U);
  size_t found = 0;
  for (const auto& tensor : read->tensors) {
    for (const auto& original : tensors) {
      if (original.name != tensor.name) continue;
      ++found;
      EXPECT_EQ(tensor.shape, original.shape);
      for (size_t i = 0; i < original.size; ++i) {
        EXPECT_EQ(read->values[tensor.offset + i], values[original.offset + i]) << tensor.name;
      }
    }
  }
  EXPECT_EQ(found, 4U);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ(header_bytes % 8, 0U);
}

TEST(Safetensors, ReadsTheLayoutOfOthers) {
  auto read = parse_safetensors(
      file("{ \"t\\u00e9\\ud83d\\ude00\" : {\"shape\" : [ 2 ] , \"data_offsets\":[0,8], \"dtype\":\"F32\"}, "
           "\"__metadata__\":{\"format\":\"pt\"} }  ",
           8));
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  EXPECT_EQ(read->tensors[0].name, "té😀");
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* message;
};

class BadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, IsRefusedWithAReason) {
  auto read = parse_safetensors(GetParam().bytes);
  ASSERT_FALSE(read.is_ok());
  EXPECT_THAT(read.status().message(), testing::HasSubstr(GetParam().message));
}

std::string one(const std::string& fields, size_t data_bytes) { return file("{\"t\":{" + fields + "}}", data_bytes); }
std::string two(const std::string& offsets_a, const std::string& offsets_b, size_t data_bytes) {
  return file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + offsets_a +
                  "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + offsets_b + "}}",
              data_bytes);
}
std::string huge_claim() {
  std::string bytes = file("{}");
  bytes[7] = '\x7f';
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadSafetensors,
    testing::Values(
        BadFile{"empty", "", "it has 0 bytes"}, BadFile{"cut_length", "1234", "it has 4 bytes"},
        BadFile{"huge_header", huge_claim(), "its header claims"},
        BadFile{"cut_header", file("{\"a\"").substr(0, 10), "it ends inside its header"},
        BadFile{"not_json", file("hello"), "does not begin with {"},
        BadFile{"space_first", file(" {}"), "does not begin with {"},
        BadFile{"text_after", file("{} x"), "text after the header"},
        BadFile{"unfinished", file("{\"a\":{"), "expected"}, BadFile{"list", file("{\"a\":[]}"), "expected {"},
        BadFile{"no_end", file("{\"a"), "a string has no end"},
        BadFile{"half_escape", file("{\"a\\"), "a string has no end"},
        BadFile{"unknown_escape", file("{\"\\x\":{}}"), "unknown escape"},
        BadFile{"short_hex", file("{\"\\u12\":{}}"), "four hex digits"},
        BadFile{"lone_surrogate", file("{\"\\ud800\":{}}"), "half a surrogate pair"},
        BadFile{"low_surrogate", file("{\"\\udc00\":{}}"), "half a surrogate pair"},
        BadFile{"control_character", file("{\"a\nb\":{}}"), "a control character"},
        BadFile{"key_twice", file("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"a\":{}}", 4),
                "the key a is given twice"},
        BadFile{"field_twice", one("\"dtype\":\"F32\",\"dtype\":\"F32\"", 0), "the key dtype is given twice"},
        BadFile{"unknown_field", one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1", 4),
                "the unknown field x"},
        BadFile{"lacks_shape", one("\"dtype\":\"F32\",\"data_offsets\":[0,4]", 4),
                "lacks dtype, shape or data_offsets"},
        BadFile{"metadata_number", file("{\"__metadata__\":{\"a\":1}}"), "expected \""},
        BadFile{"other_dtype", one("\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]", 2), "only F32"},
        BadFile{"unknown_dtype", one("\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]", 4), "unknown dtype F33"},
        BadFile{"negative", one("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]", 4), "whole number"},
        BadFile{"fraction", one("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]", 4), "expected ]"},
        BadFile{"leading_zero", one("\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]", 4), "whole number"},
        BadFile{"too_large_number", one("\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]", 4),
                "whole number"},
        BadFile{"shape_overflow", one("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]", 4),
                "overflows"},
        BadFile{"size_overflow", one("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]", 0),
                "overflows"},
        BadFile{"wrong_size", one("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]", 4), "do not fit its shape"},
        BadFile{"backwards", one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]", 4), "do not fit its shape"},
        BadFile{"three_offsets", one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]", 4), "not two numbers"},
        BadFile{"overlap", two("[0,8]", "[4,12]", 12), "overlaps"},
        BadFile{"same", two("[0,8]", "[0,8]", 8), "overlaps"},
        BadFile{"hole", two("[0,8]", "[12,20]", 20), "leaves a hole"},
        BadFile{"hole_first", two("[4,12]", "[12,20]", 20), "leaves a hole"},
        BadFile{"cut_data", two("[0,8]", "[8,16]", 12), "it ends inside the data of b"},
        BadFile{"extra_data", two("[0,8]", "[8,16]", 20), "4 bytes that no tensor owns"}),
    [](const auto& test) { return test.param.name; });

// Every file that is cut anywhere is refused, and so is one with any single byte of its header changed, unless what is
// left is a valid file. Nothing may crash.
TEST(Safetensors, SurvivesDamageAnywhere) {
  std::vector<float> values = {1, 2, 3, 4};
  std::string good = write_safetensors({{"first", {2}, 0, 2}, {"second", {2}, 2, 2}}, values.data());
  ASSERT_TRUE(parse_safetensors(good).is_ok());
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(parse_safetensors(good.substr(0, size)).is_ok());
  for (size_t at = 0; at < good.size() - 16; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      auto read = parse_safetensors(damaged);
      if (read.is_ok()) {
        EXPECT_EQ(read->values, values);
      }
    }
  }
}

TEST(WeightsDigest, SeesNamesShapesAndBytesButNotTheirPlace) {
  std::vector<float> values = {1, 2, 3, 4}, moved = {3, 4, 1, 2}, other = {1, 2, 3, 5};
  auto digest = weights_digest({{"a", {2}, 0, 2}, {"b", {2}, 2, 2}}, values.data());
  EXPECT_EQ(weights_digest({{"b", {2}, 0, 2}, {"a", {2}, 2, 2}}, moved.data()), digest);
  EXPECT_NE(weights_digest({{"a", {2}, 0, 2}, {"b", {2}, 2, 2}}, other.data()), digest);
  EXPECT_NE(weights_digest({{"a", {2}, 0, 2}, {"c", {2}, 2, 2}}, values.data()), digest);
  EXPECT_NE(weights_digest({{"a", {1, 2}, 0, 2}, {"b", {2}, 2, 2}}, values.data()), digest);
  // Computed apart from this code (Python's hashlib over the documented layout), so that the layout never moves.
  EXPECT_EQ(digest, "378f648be30c132dc9de7b79eb088477d757a1ccbcb3f702bb6151ebfea41e5c");
}

}  // namespace
}  // namespace freshet::worker
