// Golden files of the command line: tests/data/cli/NAME.txt. With FRESHET_UPDATE_GOLDEN=1 in the environment the files
// are written instead of compared; review the difference before it is committed.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "proto/json.h"
#include "tests/paths.h"

namespace freshet::cli::test {

inline std::filesystem::path data_file(const std::string& name) {
  return std::filesystem::path(FRESHET_TEST_DATA "/cli") / name;
}

inline void expect_golden(const std::string& name, const std::string& text) {
  const auto file = data_file(name + ".txt");
  if (std::getenv("FRESHET_UPDATE_GOLDEN") != nullptr) {
    ASSERT_TRUE(write_file_durably(file, text).is_ok());
    return;
  }
  auto golden = read_file(file);
  ASSERT_TRUE(golden.is_ok()) << golden.status().to_string();
  EXPECT_EQ(text, *golden) << file << "; FRESHET_UPDATE_GOLDEN=1 rewrites it";
}

// The message in tests/data/cli/NAME.json.
template <class Message>
Message message_of(const std::string& name) {
  Message message;
  auto text = read_file(data_file(name + ".json"));
  EXPECT_TRUE(text.is_ok()) << text.status().to_string();
  if (!text.is_ok()) return message;
  Status status = from_json(*text, &message);
  EXPECT_TRUE(status.is_ok()) << name << ": " << status.to_string();
  return message;
}

inline constexpr Time kNow{1'793'534'400'000'000};  // 2026-11-01T12:00:00Z

}  // namespace freshet::cli::test
