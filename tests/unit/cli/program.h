// The program in the test's own process: arguments in, exit code and text out.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/check.h"
#include "cli/app.h"
#include "tests/unit/cli/fake_daemon.h"
#include "tests/unit/cli/golden.h"

namespace freshet::cli::test {

class FixedClock final : public Clock {
 public:
  Time now() const override { return kNow; }
  Time monotonic() const override { return monotonic_; }
  void advance(Duration by) { monotonic_ = monotonic_ + by; }

 private:
  Time monotonic_{1};
};

struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

class Program : public testing::Test {
 protected:
  Program() {
    std::string form = std::filesystem::temp_directory_path() / "freshet-cli-XXXXXX";
    CHECK(::mkdtemp(form.data()) != nullptr);
    dir_ = form;
    write("admin.token", "s3cret\n");
    write("address", daemon_.url() + "\n");
  }
  ~Program() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) {
    const auto path = dir_ / name;
    CHECK(make_directories(path.parent_path()).is_ok());
    CHECK(write_file_durably(path, text).is_ok());
  }

  // `freshet ARGUMENTS` with the data directory of the fake daemon, unless the arguments name one.
  Outcome run(std::vector<std::string> arguments) {
    std::ostringstream out, err;
    std::istringstream in(input_);
    SeededRandom random(1);
    Environment environment{.out = out,
                            .err = err,
                            .in = in,
                            .clock = clock_,
                            .random = random,
                            .is_terminal = is_terminal_,
                            .columns = 100,
                            .variable =
                                [this](const std::string& name) {
                                  auto found = variables_.find(name);
                                  return found == variables_.end() ? std::string() : found->second;
                                },
                            .pause =
                                [this](Duration duration) {
                                  clock_.advance(duration);
                                  return pauses_left_-- > 0;
                                }};
    variables_.try_emplace("FRESHET_DATA_DIR", dir_.string());
    arguments.insert(arguments.begin(), "freshet");
    std::vector<const char*> argv;
    for (const auto& argument : arguments) argv.push_back(argument.c_str());
    const int code = run_cli(static_cast<int>(argv.size()), argv.data(), environment);
    return {code, out.str(), err.str()};
  }

  Asked last_asked() const {
    const auto all = daemon_.asked();
    CHECK(!all.empty());
    return all.back();
  }

  FakeDaemon daemon_;
  FixedClock clock_;
  std::filesystem::path dir_;
  std::map<std::string, std::string> variables_;
  std::string input_;
  bool is_terminal_ = false;
  int pauses_left_ = 1000;
};

}  // namespace freshet::cli::test
