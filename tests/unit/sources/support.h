// What the tests of sources share: a temporary directory, files made as programs make them, and waiting for a change.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>

#include "base/status.h"

namespace freshet {

template <class T>
T must(Result<T> result) {
  if (!result.is_ok()) ADD_FAILURE() << result.status().to_string();
  return std::move(result).value();
}

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "freshet-test-XXXXXX").string();
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

inline void write_file(const std::filesystem::path& path, const std::string& bytes) { std::ofstream(path) << bytes; }

// The way a careful program lets a file arrive: written aside, then renamed.
inline void land(const std::filesystem::path& directory, const std::string& name, const std::string& bytes) {
  std::filesystem::path aside = directory / ("." + name + ".tmp");
  write_file(aside, bytes);
  std::filesystem::rename(aside, directory / name);
}

// Wakes whoever waits each time something has changed.
class Changes {
 public:
  std::function<void()> callback() {
    return [this] {
      std::lock_guard lock(mutex_);
      ++count_;
      changed_.notify_all();
    };
  }
  // Until `holds` is true, looking after each change; false after ten seconds.
  bool wait_until(const std::function<bool()>& holds) {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    for (;;) {
      uint64_t seen = count();
      if (holds()) return true;
      std::unique_lock lock(mutex_);
      if (!changed_.wait_until(lock, deadline, [&] { return count_ != seen; })) return false;
    }
  }
  uint64_t count() {
    std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t count_ = 0;
};

}  // namespace freshet
