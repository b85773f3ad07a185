// Completion: the bash script is run by a bash; those of the other shells are looked at.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/unit/cli/program.h"

namespace freshet::cli::test {
namespace {

class Completion : public Program {
 protected:
  // What bash offers for the last of the words, one a line.
  std::string offered(const std::vector<std::string>& words) {
    std::string script = run({"completion", "bash"}).out + "\nCOMP_WORDS=(freshet";
    for (const auto& word : words) script += " '" + word + "'";
    script += ")\nCOMP_CWORD=" + std::to_string(words.size()) + "\n_freshet\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
    write("script.sh", script);
    FILE* shell = ::popen(("bash " + (dir_ / "script.sh").string() + " 2>&1").c_str(), "r");
    CHECK(shell != nullptr);
    std::string text;
    char piece[4096];
    while (size_t got = std::fread(piece, 1, sizeof piece, shell)) text.append(piece, got);
    ::pclose(shell);
    return text;
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

TEST_F(Completion, OtherShells) {
  const std::string zsh = run({"completion", "zsh"}).out;
  EXPECT_TRUE(zsh.starts_with("#compdef freshet\n"));
  EXPECT_NE(zsh.find("'cancel:Stop a run; its gangs are told to end'"), std::string::npos) << zsh;
  EXPECT_NE(zsh.find("'--server:address of the daemon, http://HOST:PORT'"), std::string::npos) << zsh;
  const std::string fish = run({"completion", "fish"}).out;
  EXPECT_NE(
      fish.find("complete -c freshet -n '__freshet_at runs' -a cancel -d 'Stop a run; its gangs are told to end'\n"),
      std::string::npos);
  EXPECT_NE(fish.find("complete -c freshet -n '__freshet_at apply' -s f -l filename -r -F -d "), std::string::npos);
  auto ended = run({"completion", "tcsh"});
  EXPECT_EQ(ended.code, kExitError);
  EXPECT_EQ(ended.err, "freshet: 'tcsh' is not a shell that is known here; use bash, zsh or fish\n");
}

}  // namespace
}  // namespace freshet::cli::test
