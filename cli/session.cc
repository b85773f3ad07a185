#include "cli/session.h"

#include <ostream>

#include "proto/json.h"

namespace freshet::cli {

RenderOptions Session::render_options() const {
  RenderOptions options;
  options.color = env.is_terminal && !globals.no_color && env.variable("NO_COLOR").empty();
  options.now = env.clock.now();
  return options;
}

Result<int> Session::print_json(const google::protobuf::Message& message) {
  std::string text = to_json_pretty(message);
  if (!text.ends_with('\n')) text += '\n';
  return print_text(text);
}

Result<int> Session::print_text(const std::string& text) {
  env.out << text << std::flush;
  return kExitOk;
}

Result<std::string> data_dir_of(const Session& session) {
  if (!session.globals.data_dir.empty()) return session.globals.data_dir;
  std::string dir = session.env.variable("FRESHET_DATA_DIR");
  if (!dir.empty()) return dir;
  dir = session.env.variable("HOME");
  if (!dir.empty()) return dir + "/.freshet";
  return invalid_argument("there is no home directory; give --data-dir or set FRESHET_DATA_DIR");
}

}  // namespace freshet::cli
