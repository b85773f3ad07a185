#include "cli/completion.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

namespace freshet::cli {
namespace {

struct OptionWords {
  std::vector<std::string> names;  // "-f", "--filename"
  std::string description;
  bool takes_value = false;
  bool takes_path = false;
};

// One command with everything that may follow it.
struct CommandWords {
  std::string path;                                           // "runs cancel"; empty for the program itself
  std::vector<std::pair<std::string, std::string>> commands;  // name and description
  std::vector<OptionWords> options;
};

std::vector<OptionWords> options_of(const CLI::App& app) {
  std::vector<OptionWords> all;
  for (const CLI::Option* option : app.get_options()) {
    OptionWords words;
    for (const auto& name : option->get_snames()) words.names.push_back("-" + name);
    for (const auto& name : option->get_lnames()) words.names.push_back("--" + name);
    if (words.names.empty()) continue;  // a positional
    words.description = option->get_description();
    words.takes_value = option->get_items_expected_max() > 0;
    words.takes_path = option->get_type_name() == "PATH";
    all.push_back(std::move(words));
  }
  return all;
}

// The command, then what is below it; options of a command are known below it too.
void collect(const CLI::App& app, const std::string& path, std::vector<OptionWords> inherited,
             std::vector<CommandWords>* all) {
  CommandWords words;
  words.path = path;
  for (auto& option : options_of(app)) {
    const bool is_known =
        std::any_of(inherited.begin(), inherited.end(), [&](const auto& other) { return other.names == option.names; });
    if (!is_known) inherited.push_back(std::move(option));
  }
  words.options = inherited;
  const auto children = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* child : children) words.commands.emplace_back(child->get_name(), child->get_description());
  all->push_back(std::move(words));
  for (const CLI::App* child : children) {
    collect(*child, path.empty() ? child->get_name() : path + " " + child->get_name(), inherited, all);
  }
}

std::string words_of(const CommandWords& command) {
  std::string text;
  for (const auto& [name, description] : command.commands) text += (text.empty() ? "" : " ") + name;
  for (const auto& option : command.options) {
    for (const auto& name : option.names) text += (text.empty() ? "" : " ") + name;
  }
  return text;
}

// "-f|--filename" of all options of that kind.
std::string patterns(const std::vector<CommandWords>& commands, bool paths) {
  std::vector<std::string> seen;
  std::string text;
  for (const auto& command : commands) {
    for (const auto& option : command.options) {
      if (!option.takes_value || option.takes_path != paths) continue;
      for (const auto& name : option.names) {
        // -f asks for a file after apply and follows after logs: there it takes no value.
        if (std::find(seen.begin(), seen.end(), command.path + "\n" + name) != seen.end()) continue;
        seen.push_back(command.path + "\n" + name);
        text += (text.empty() ? "" : "|") + std::string("\"") + command.path + ":" + name + "\"";
      }
    }
  }
  return text.empty() ? "\"\"" : text;
}

std::string command_paths(const std::vector<CommandWords>& commands) {
  std::string text;
  for (const auto& command : commands) {
    if (!command.path.empty()) text += (text.empty() ? "\"" : "|\"") + command.path + "\"";
  }
  return text;
}

std::string bash_script(const std::vector<CommandWords>& commands) {
  std::string cases;
  for (const auto& command : commands) {
    cases += "    \"" + command.path + "\") words=\"" + words_of(command) + "\" ;;\n";
  }
  return "# bash completion for freshet: source <(freshet completion bash)\n"
         "_freshet() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local path=\"\" next words=\"\" i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    next=\"${path:+$path }${COMP_WORDS[i]}\"\n"
         "    case \"$next\" in\n"
         "      " +
         command_paths(commands) +
         ") path=$next ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$path:$previous\" in\n"
         "    " +
         patterns(commands, true) +
         ")\n"
         "      compopt -o filenames 2>/dev/null\n"
         "      COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "      return ;;\n"
         "    " +
         patterns(commands, false) +
         ") return ;;\n"
         "  esac\n"
         "  case \"$path\" in\n" +
         cases +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -F _freshet freshet\n";
}

// Inside single quotes of a shell; `colon` escapes what separates a word from its description in zsh.
std::string in_quotes(const std::string& text, bool colon) {
  std::string quoted = "'";
  for (char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else if (c == ':' && colon) {
      quoted += "\\:";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

std::string zsh_item(const std::string& name, const std::string& description) {
  const std::string word = in_quotes(name, true);
  return word.substr(0, word.size() - 1) + ":" + in_quotes(description, false).substr(1);
}

std::string zsh_script(const std::vector<CommandWords>& commands) {
  std::string cases;
  for (const auto& command : commands) {
    cases += "    \"" + command.path + "\")\n      items=(";
    for (const auto& [name, description] : command.commands) cases += "\n        " + zsh_item(name, description);
    for (const auto& option : command.options) {
      for (const auto& name : option.names) cases += "\n        " + zsh_item(name, option.description);
    }
    cases += "\n      ) ;;\n";
  }
  return "#compdef freshet\n"
         "# zsh completion for freshet: source <(freshet completion zsh)\n"
         "_freshet() {\n"
         "  local at=\"\" next word\n"  // not "path": that is zsh's own
         "  local -a items\n"
         "  for word in ${words[2,CURRENT-1]}; do\n"
         "    next=\"${at:+$at }$word\"\n"
         "    case \"$next\" in\n"
         "      " +
         command_paths(commands) +
         ") at=$next ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$at:${words[CURRENT-1]}\" in\n"
         "    " +
         patterns(commands, true) +
         ") _files; return ;;\n"
         "    " +
         patterns(commands, false) +
         ") return ;;\n"
         "  esac\n"
         "  case \"$at\" in\n" +
         cases +
         "  esac\n"
         "  _describe 'freshet' items\n"
         "}\n"
         "compdef _freshet freshet\n";
}

std::string fish_script(const std::vector<CommandWords>& commands) {
  std::string lines =
      "# fish completion for freshet: freshet completion fish | source\n"
      "function __freshet_at\n"
      "  set -l path\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    switch (string join ' ' $path $word)\n"
      "      case";
  for (const auto& command : commands) {
    if (!command.path.empty()) lines += " " + in_quotes(command.path, false);
  }
  lines +=
      "\n"
      "        set -a path $word\n"
      "    end\n"
      "  end\n"
      "  test (string join ' ' $path) = \"$argv\"\n"
      "end\n"
      "complete -c freshet -f\n";
  for (const auto& command : commands) {
    const std::string at = "complete -c freshet -n " + in_quotes("__freshet_at " + command.path, false);
    for (const auto& [name, description] : command.commands) {
      lines += at + " -a " + name + " -d " + in_quotes(description, false) + "\n";
    }
    for (const auto& option : command.options) {
      lines += at;
      for (const auto& name : option.names) {
        lines += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.takes_value) lines += option.takes_path ? " -r -F" : " -x";
      lines += " -d " + in_quotes(option.description, false) + "\n";
    }
  }
  return lines;
}

}  // namespace

Result<std::string> completion_script(const CLI::App& app, const std::string& shell) {
  std::vector<CommandWords> commands;
  collect(app, "", {}, &commands);
  if (shell == "bash") return bash_script(commands);
  if (shell == "zsh") return zsh_script(commands);
  if (shell == "fish") return fish_script(commands);
  return invalid_argument("'" + shell + "' is not a shell that is known here; use bash, zsh or fish");
}

}  // namespace freshet::cli
