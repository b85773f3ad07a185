// What the store's tests share: a temporary directory, a clock set by hand, checked access to results.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <string>

#include "base/status.h"
#include "base/time.h"

namespace freshet {

class TempDir {
 public:
  explicit TempDir(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string name = (parent / "freshet-test-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class HandClock final : public Clock {
 public:
  Time now() const override { return Time{now_us.load()}; }
  Time monotonic() const override { return Time{now_us.load()}; }
  std::atomic<int64_t> now_us{1'000'000};
};

template <class T>
T must(Result<T> result) {
  if (!result.is_ok()) ADD_FAILURE() << result.status().to_string();
  return std::move(result).value();
}

inline void must(const Status& status) { EXPECT_TRUE(status.is_ok()) << status.to_string(); }

}  // namespace freshet
