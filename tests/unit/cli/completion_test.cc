// Completion: the bash script is run by a bash; those of the other shells are looked at.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/unit/cli/program.h"

namespace freshet::cli::test {
namespace {

class Completion : public Program {
 protected:
  bool has_shell(const std::string& shell) {
    return std::system(("command -v " + shell + " >/dev/null 2>&1").c_str()) == 0;
  }

  // What the shell prints when it runs the script.
  std::string printed(const std::string& shell, const std::string& script) {
    write("script", script);
    FILE* running = ::popen((shell + " " + (dir_ / "script").string() + " 2>&1").c_str(), "r");
    CHECK(running != nullptr);
    std::string text;
    char piece[4096];
    while (size_t got = std::fread(piece, 1, sizeof piece, running)) text.append(piece, got);
    ::pclose(running);
    return text;
  }

  // What bash offers for the last of the words, one a line.
  std::string offered(const std::vector<std::string>& words) {
    std::string script = run({"completion", "bash"}).out + "\nCOMP_WORDS=(freshet";
    for (const auto& word : words) script += " '" + word + "'";
    script += ")\nCOMP_CWORD=" + std::to_string(words.size()) + "\n_freshet\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
    return printed("bash", script);
  }
};

TEST_F(Completion, BashOffersCommandsAndOptions) {
  EXPECT_EQ(offered({"ap"}), "apply\n");
  EXPECT_EQ(offered({"runs", "c"}), "cancel\n");
  EXPECT_EQ(offered({"runs", "--fo"}), "--follow\n");
  EXPECT_EQ(offered({"runs", "cancel", "--rea"}), "--reason\n");
  EXPECT_EQ(offered({"--json", "data", "re"}), "release\n");
  EXPECT_EQ(offered({"promote", "--ser"}), "--server\n");        // an option of the program itself
  EXPECT_EQ(offered({"runs", "--pipeline", "anything"}), "\n");  // a value that we can't know
}

TEST_F(Completion, BashOffersFilesWhereFilesGo) {
  write("pipeline.yaml", "");
  EXPECT_EQ(offered({"apply", "-f", (dir_ / "pipe").string()}), (dir_ / "pipeline.yaml").string() + "\n");
  EXPECT_EQ(offered({"logs", "-f", "--std"}), "--stderr\n");  // the same letter, without a value
}

TEST_F(Completion, ZshDescribesWhatItOffers) {
  const std::string script = run({"completion", "zsh"}).out;
  EXPECT_TRUE(script.starts_with("#compdef freshet\n"));
  if (!has_shell("zsh")) GTEST_SKIP() << "there is no zsh";
  // Stands in for zsh's own completion system, which needs a terminal.
  const std::string offered =
      printed("zsh -f", "compdef() {}\n_describe() { print -rl -- ${(P)2} }\n" + script +
                            "words=(freshet --json runs '')\nCURRENT=4\n_freshet\nprint -- $+commands[ls]\n");
  EXPECT_TRUE(offered.starts_with("list:List runs, newest first\ncancel:Stop a run; its gangs are told to end\n"))
      << offered;
  EXPECT_NE(offered.find("\n--server:address of the daemon, http://HOST:PORT\n"), std::string::npos) << offered;
  EXPECT_TRUE(offered.ends_with("\n1\n")) << "the shell's own $path is gone";
}

TEST_F(Completion, FishDescribesWhatItOffers) {
  const std::string script = run({"completion", "fish"}).out;
  EXPECT_NE(script.find("complete -c freshet -n '__freshet_at apply' -s f -l filename -r -F -d "), std::string::npos);
  if (!has_shell("fish")) GTEST_SKIP() << "there is no fish";
  const std::string ask = script + "\ncomplete -C 'freshet runs c'\ncomplete -C 'freshet --json data re'\n";
  EXPECT_EQ(printed("fish", ask),
            "cancel\tStop a run; its gangs are told to end\nrelease\tAccept quarantined entries after all\n");
}

TEST_F(Completion, OtherShellsAreRefused) {
  auto ended = run({"completion", "tcsh"});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_EQ(ended.err, "freshet: 'tcsh' is not a shell that is known here; use bash, zsh or fish\n");
}

}  // namespace
}  // namespace freshet::cli::test
