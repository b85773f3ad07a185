// Runs a program and keeps what it printed. Tests only; one thread.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"

extern "C" char** environ;

namespace freshet::worker {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string output;  // standard output and error together
};

// `variables` ("NAME=value") are added to the test's own environment. What is printed goes to `log`, a file.
inline CommandResult run_command(const std::vector<std::string>& arguments, const std::filesystem::path& log,
                                 const std::vector<std::string>& variables = {}) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::vector<char*> argv, environment;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  for (const auto& variable : variables) environment.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  pid_t pid = 0;
  int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  CommandResult result;
  if (error != 0) {
    result.output = "cannot start " + arguments[0];
    return result;
  }
  int end = 0;
  EXPECT_EQ(waitpid(pid, &end, 0), pid);
  result.exit_code = WIFEXITED(end) ? WEXITSTATUS(end) : 128 + WTERMSIG(end);
  auto text = read_file(log);
  if (text.is_ok()) result.output = *text;
  return result;
}

}  // namespace freshet::worker
