// completion: the script for a shell.
#include <CLI/CLI.hpp>

#include "cli/completion.h"

#include "cli/commands/commands.h"

namespace freshet::cli {

void add_completion(CLI::App& app, Session& session) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print the completion script for a shell");
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->type_name("SHELL");
  command->footer(examples({"freshet completion bash > ~/.local/share/bash-completion/completions/freshet",
                            "source <(freshet completion bash)", "freshet completion fish | source"}));
  session.on(command, [&session, &app, shell]() -> Result<int> {
    ASSIGN_OR_RETURN(std::string script, completion_script(app, *shell));
    return session.print_text(script);
  });
}

}  // namespace freshet::cli
