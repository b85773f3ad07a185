// Session: one call of the program: where it prints, what it was told on the command line, and what each command does.
// Owned by run_cli(), one thread.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <iosfwd>
#include <map>
#include <string>

#include "base/random.h"
#include "base/status.h"
#include "base/time.h"
#include "cli/exit_code.h"
#include "cli/render/table.h"

namespace CLI {
class App;
}

namespace freshet::cli {

// The world around the program, so that a test can be one.
struct Environment {
  std::ostream& out;
  std::ostream& err;
  std::istream& in;
  const Clock& clock;
  Random& random;
  bool is_terminal = false;                                 // standard output
  size_t columns = 80;                                      // of the terminal
  std::function<std::string(const std::string&)> variable;  // of the process; empty when not set
  // Waits; false: nobody reads our output any more.
  std::function<bool(Duration)> pause;
};

struct Globals {
  bool json = false;
  bool no_color = false;
  std::string server;
  std::string token_file;
  std::string data_dir;
  std::string project = "default";
  std::string idempotency_key;
};

class Session {
 public:
  // Ends with an exit code, or with a Status that is printed and becomes one.
  using Action = std::function<Result<int>()>;

  explicit Session(Environment& environment) : env(environment) {}

  // What the command does once the whole command line is read.
  void on(const CLI::App* command, Action action) { actions_[command] = std::move(action); }
  // Null when the command only groups others.
  const Action* action_of(const CLI::App* command) const {
    auto found = actions_.find(command);
    return found == actions_.end() ? nullptr : &found->second;
  }

  RenderOptions render_options() const;
  // Prints the API's JSON with --json, else the text.
  template <class Message>
  Result<int> print(const Message& message, const std::string& text);
  Result<int> print_json(const google::protobuf::Message& message);
  Result<int> print_text(const std::string& text);

  Environment& env;
  Globals globals;

 private:
  std::map<const CLI::App*, Action> actions_;
};

template <class Message>
Result<int> Session::print(const Message& message, const std::string& text) {
  return globals.json ? print_json(message) : print_text(text);
}

// $FRESHET_DATA_DIR or ~/.freshet, unless --data-dir says otherwise.
Result<std::string> data_dir_of(const Session& session);

}  // namespace freshet::cli
