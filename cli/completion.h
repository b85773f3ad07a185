// Shell completion, made from the commands themselves so that it can't fall behind them. Pure; one thread.
#pragma once

#include <string>

#include "base/status.h"

namespace CLI {
class App;
}

namespace freshet::cli {

// The script for "bash", "zsh" or "fish". `app` is the program's root.
Result<std::string> completion_script(const CLI::App& app, const std::string& shell);

}  // namespace freshet::cli
