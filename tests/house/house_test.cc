// The house rules over the project's own tree, and a planted violation for each rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/house/layers.h"
#include "tests/house/rules.h"
#include "tests/house/source_text.h"
#include "tests/paths.h"

namespace freshet::house {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kRoot = "/elsewhere/checkout";

std::vector<std::string> found(const std::vector<SourceFile>& files) {
  std::vector<std::string> texts;
  for (const auto& finding : check(files, kRoot)) texts.push_back(to_string(finding));
  return texts;
}

std::vector<std::string> found(const std::string& path, const std::string& text) {
  return found({SourceFile{path, text}});
}

std::string header(const std::string& code) { return "// A test header.\n#pragma once\n" + code; }

TEST(House, TheTreeKeepsTheRules) {
  auto files = load_tree(FRESHET_SOURCE_ROOT);
  ASSERT_GT(files.size(), 50U);
  std::string all;
  for (const auto& finding : check(files, FRESHET_SOURCE_ROOT)) all += to_string(finding) + "\n";
  EXPECT_EQ(all, "");
}

TEST(House, TheTreeIsReadWithoutWhatToolsLeaveBehind) {
  bool scheduler = false;
  for (const auto& file : load_tree(FRESHET_SOURCE_ROOT)) {
    scheduler = scheduler || file.path == "scheduler/plan.h";
    EXPECT_THAT(file.path, testing::Not(testing::StartsWith(".git/")));
    EXPECT_THAT(file.path, testing::Not(testing::StartsWith("build")));
  }
  EXPECT_TRUE(scheduler);
}

struct IncludeCase {
  const char* path;
  const char* include;
  bool allowed;
};

class HouseIncludes : public testing::TestWithParam<IncludeCase> {};

TEST_P(HouseIncludes, FollowTheLayers) {
  const auto& c = GetParam();
  std::string line = c.include[0] == '<' ? c.include : "\"" + std::string(c.include) + "\"";
  std::vector<Finding> findings;
  check_includes({c.path, "#include " + line + "\n"}, &findings);
  EXPECT_EQ(findings.empty(), c.allowed) << (findings.empty() ? "" : to_string(findings[0]));
}

INSTANTIATE_TEST_SUITE_P(
    Table, HouseIncludes,
    testing::Values(
        IncludeCase{"base/time.cc", "base/time.h", true}, IncludeCase{"base/time.cc", "proto/run.pb.h", false},
        IncludeCase{"base/time.cc", "scheduler/plan.h", false}, IncludeCase{"base/time.cc", "<boost/asio.hpp>", false},
        IncludeCase{"base/time.cc", "<google/protobuf/message.h>", false},
        IncludeCase{"base/time.cc", "<string>", true}, IncludeCase{"base/sha256.cc", "<openssl/evp.h>", true},
        IncludeCase{"proto/yaml.cc", "<yaml-cpp/yaml.h>", true}, IncludeCase{"proto/yaml.cc", "daemon/app.h", false},
        IncludeCase{"scheduler/plan.cc", "base/time.h", true}, IncludeCase{"scheduler/plan.cc", "proto/run.pb.h", true},
        IncludeCase{"scheduler/plan.cc", "proto/json.h", false},
        IncludeCase{"scheduler/plan.cc", "daemon/store/store.h", false},
        IncludeCase{"scheduler/plan.cc", "net/url.h", false},
        IncludeCase{"scheduler/plan.cc", "<boost/asio.hpp>", false},
        IncludeCase{"scheduler/plan.cc", "<rocksdb/db.h>", false}, IncludeCase{"scheduler/plan.cc", "plan.h", false},
        IncludeCase{"scheduler/plan.cc", "<scheduler/plan.h>", false},
        IncludeCase{"kernels/adamw.cu", "kernels/adamw.h", true},
        IncludeCase{"kernels/adamw.cu", "<cuda_runtime.h>", true},
        IncludeCase{"kernels/adamw.cu", "proto/run.pb.h", false},
        IncludeCase{"kernels/adamw.cu", "worker/train.h", false},
        IncludeCase{"worker/main.cc", "kernels/adamw.h", true}, IncludeCase{"worker/main.cc", "<mpi.h>", true},
        IncludeCase{"worker/main.cc", "agent/gang.h", false}, IncludeCase{"worker/main.cc", "daemon/app.h", false},
        IncludeCase{"worker/main.cc", "net/url.h", false}, IncludeCase{"worker/main.cc", "scheduler/plan.h", false},
        IncludeCase{"agent/run.cc", "net/url.h", true}, IncludeCase{"agent/run.cc", "worker/train.h", false},
        IncludeCase{"agent/run.cc", "daemon/http/router.h", false}, IncludeCase{"agent/run.cc", "<mpi.h>", false},
        IncludeCase{"cli/main.cc", "net/http_client.h", true}, IncludeCase{"cli/main.cc", "agent/run.h", false},
        IncludeCase{"cli/main.cc", "daemon/control/work.h", false},
        IncludeCase{"daemon/app.cc", "daemon/store/rocks_kv.h", true},
        IncludeCase{"daemon/app.cc", "agent/run.h", false}, IncludeCase{"daemon/app.cc", "worker/train.h", false},
        IncludeCase{"daemon/main.cc", "daemon/app.h", true},
        IncludeCase{"daemon/main.cc", "daemon/store/rocks_kv.h", false},
        IncludeCase{"daemon/store/writer.cc", "daemon/store/rocks_kv.h", true},
        IncludeCase{"daemon/store/rocks_kv.cc", "<rocksdb/db.h>", true},
        IncludeCase{"daemon/store/writer.cc", "daemon/control/work.h", false},
        IncludeCase{"daemon/sources/git.cc", "<git2.h>", true},
        IncludeCase{"daemon/sources/git.cc", "daemon/control/catalog.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/store/store.h", true},
        IncludeCase{"daemon/control/run.cc", "daemon/store/rocks_kv.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/store/memory_kv.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/sources/source.h", true},
        IncludeCase{"daemon/control/run.cc", "daemon/sources/git.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/providers/local.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/api/runs.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/http/server.h", false},
        IncludeCase{"daemon/control/run.cc", "daemon/async/task_group.h", false},
        IncludeCase{"daemon/control/run.cc", "<rocksdb/db.h>", false},
        IncludeCase{"daemon/api/runs.cc", "daemon/control/run_service.h", true},
        IncludeCase{"daemon/api/runs.cc", "daemon/http/principal.h", true},
        IncludeCase{"daemon/api/runs.cc", "daemon/http/server.h", false},
        IncludeCase{"daemon/api/runs.cc", "daemon/store/store.h", false},
        IncludeCase{"daemon/api/runs.cc", "<boost/beast.hpp>", false},
        IncludeCase{"daemon/http/server.cc", "<boost/beast.hpp>", true},
        IncludeCase{"daemon/http/server.cc", "daemon/control/run_service.h", false},
        IncludeCase{"daemon/async/loop.cc", "daemon/control/reconciler.h", true},
        IncludeCase{"daemon/async/loop.cc", "daemon/control/work.h", false},
        IncludeCase{"proto/json.cc", "<boost/json.hpp>", true}, IncludeCase{"proto/json.cc", "<boost/asio.hpp>", false},
        IncludeCase{"daemon/control/x.cc", "<prometheus/metric_family.h>", true},
        IncludeCase{"daemon/control/x.cc", "<prometheus/registry.h>", false},
        IncludeCase{"daemon/app.cc", "tests/support/x.h", false},
        IncludeCase{"tests/sim/sim.cc", "daemon/store/memory_kv.h", true},
        IncludeCase{"elsewhere/x.cc", "base/time.h", false}));

TEST(House, AForbiddenIncludeIsNamedWithTheReason) {
  EXPECT_THAT(found("scheduler/plan.cc", "#include <string>\n#include \"daemon/store/store.h\"\n"),
              ElementsAre("scheduler/plan.cc:2: [include] \"daemon/store/store.h\" may not be included here: the "
                          "scheduler sees base and the generated messages only (allowed: scheduler/, base/, "
                          "proto/*.pb.h)"));
}

struct PureCase {
  const char* code;
  const char* word;  // of the finding
};

class HousePure : public testing::TestWithParam<PureCase> {};

TEST_P(HousePure, IsRefusedInEveryDeterministicFolderAndNowhereElse) {
  for (const char* folder : {"scheduler/", "daemon/control/", "daemon/api/"}) {
    std::vector<Finding> findings;
    check_pure({std::string(folder) + "x.cc", std::string(GetParam().code) + "\n"}, &findings);
    ASSERT_FALSE(findings.empty()) << folder << ": " << GetParam().code;
    EXPECT_THAT(to_string(findings[0]), HasSubstr(GetParam().word));
    EXPECT_EQ(findings[0].line, 1U);
  }
  std::vector<Finding> findings;
  check_pure({"daemon/async/x.cc", std::string(GetParam().code) + "\n"}, &findings);
  EXPECT_THAT(findings, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Table, HousePure,
    testing::Values(
        PureCase{"#include <chrono>", "a clock"}, PureCase{"#include <ctime>", "a clock"},
        PureCase{"auto t = std::chrono::system_clock::now();", "a clock"},
        PureCase{"clock_gettime(CLOCK_REALTIME, &ts);", "a clock"}, PureCase{"gettimeofday(&tv, nullptr);", "a clock"},
        PureCase{"auto t = std::time(nullptr);", "a clock"}, PureCase{"SystemClock clock;", "a clock"},
        PureCase{"#include <random>", "randomness"}, PureCase{"std::random_device device;", "randomness"},
        PureCase{"SystemRandom random;", "randomness"}, PureCase{"#include <thread>", "a thread"},
        PureCase{"std::thread t(f);", "a thread"}, PureCase{"std::jthread t(f);", "a thread"},
        PureCase{"auto f = std::async(g);", "a thread"}, PureCase{"co_await timer();", "a thread"},
        PureCase{"sleep(1);", "a sleep"}, PureCase{"std::this_thread::yield();", "a thread"},
        PureCase{"#include <boost/asio.hpp>", "a socket"}, PureCase{"#include <sys/socket.h>", "a socket"},
        PureCase{"int fd = ::socket(AF_INET, 0, 0);", "a socket"}, PureCase{"boost::asio::io_context io;", "a socket"},
        PureCase{"#include <fstream>", "a file"}, PureCase{"namespace fs = std::filesystem;", "a file"},
        PureCase{"#include \"base/file.h\"", "a file"}, PureCase{"std::ifstream in(path);", "a file"},
        PureCase{"int fd = ::open(path, 0);", "a file"}, PureCase{"FILE* f = fopen(path, mode);", "a file"},
        PureCase{"std::filesystem::remove(path);", "a file"}, PureCase{"std::cerr << 1;", "a file"},
        PureCase{"#include <unistd.h>", "a process"}, PureCase{"pid_t pid = fork();", "a process"},
        PureCase{"auto* home = getenv(name);", "a process"},
        PureCase{"#include <unordered_map>", "order is not defined"},
        PureCase{"std::unordered_set<int> ids;", "order is not defined"},
        PureCase{"LocalArtifactStore store;", "a concrete class"}, PureCase{"RocksKv kv;", "a concrete class"}));

TEST(House, CommentsLiteralsAndLongerNamesAreNotCalls) {
  EXPECT_THAT(found("scheduler/x.cc",
                    "// Needs no std::thread and no sleep at all\n"
                    "/* nor a clock_gettime */\n"
                    "const char* text = \"std::thread \\\" sleep\";\n"
                    "const char* raw = R\"(std::thread\nsleep)\";\n"
                    "int asleep = oversleep(1'000'000) + 'x';\n"
                    "std::filesystem::path path(text);\n"
                    "bool open = store.open(1) || reopen(2);\n"),
              IsEmpty());
}

TEST(House, HeadersBeginWithACommentAndPragmaOnce) {
  EXPECT_THAT(found("base/x.h", header("int f();\n")), IsEmpty());
  EXPECT_THAT(found("base/x.h", "// A header.\nint f();\n"),
              ElementsAre("base/x.h: [header] the first line of code must be #pragma once"));
  EXPECT_THAT(found("base/x.h", "// A header.\n#include <string>\n#pragma once\n"),
              ElementsAre("base/x.h: [header] the first line of code must be #pragma once"));
  EXPECT_THAT(found("base/x.h", "#pragma once\n"), Contains(HasSubstr("a header opens with a comment")));
  EXPECT_THAT(found("base/x.h", header("using namespace std;\n")), Contains(HasSubstr("open a namespace")));
  EXPECT_THAT(found("kernels/x.cuh", "// A header.\nint f();\n"), Contains(HasSubstr("#pragma once")));
}

TEST(House, AFileIncludesItsOwnHeaderFirst) {
  SourceFile own{"base/x.h", header("")};
  EXPECT_THAT(found({own, {"base/x.cc", "#include \"base/x.h\"\n\n#include <string>\n"}}), IsEmpty());
  EXPECT_THAT(found({own, {"base/x.cc", "#include <string>\n#include \"base/x.h\"\n"}}),
              ElementsAre("base/x.cc:1: [own-header] the first include must be \"base/x.h\""));
  EXPECT_THAT(found({own, {"base/x.cc", "int f();\n"}}), Contains(HasSubstr("[own-header]")));
  EXPECT_THAT(found({own, {"base/y.cc", "#include <string>\n"}}), IsEmpty());
}

TEST(House, NoFileIsLongerThanSixHundredLines) {
  std::string lines;
  for (int i = 0; i < 600; ++i) lines += "x\n";
  for (const char* path : {"base/x.cc", "base/x.h", "kernels/x.cu", "python/x.py", "scripts/x.sh",
                           "base/CMakeLists.txt", "cmake/x.cmake", "proto/x.proto"}) {
    std::vector<Finding> findings;
    check_size({path, lines}, &findings);
    EXPECT_THAT(findings, IsEmpty()) << path;
    check_size({path, lines + "x\n"}, &findings);
    ASSERT_EQ(findings.size(), 1U) << path;
    EXPECT_EQ(findings[0].message, "has 601 lines; at most 600 are allowed");
  }
  std::vector<Finding> findings;
  check_size({"scripts/demo", "#!/bin/sh\n" + lines}, &findings);
  EXPECT_EQ(findings.size(), 1U);
  findings.clear();
  check_size({"docs/API.md", lines + lines}, &findings);
  EXPECT_THAT(findings, IsEmpty());
}

TEST(House, NothingIsLeftForLater) {
  for (const std::string mark : {"TO"
                                 "DO",
                                 "FIX"
                                 "ME",
                                 "XX"
                                 "X"}) {
    EXPECT_THAT(found("scripts/x", "# " + mark + ": later\n"),
                ElementsAre("scripts/x:1: [leftover] " + mark + ": do it, or open an issue"));
  }
  EXPECT_THAT(found("base/x.cc",
                    "int TO"
                    "DOS = 1;\n"),
              IsEmpty());
  EXPECT_THAT(found("docs/x.md", "<<<<<<< HEAD\n"), ElementsAre("docs/x.md:1: [leftover] a merge conflict"));
  EXPECT_THAT(found("base/x.cc", "#if 0\n#endif\n"),
              ElementsAre("base/x.cc:1: [leftover] code that is never compiled"));
}

TEST(House, CodeIsNotKeptInComments) {
  for (const char* code :
       {"foo(bar);", "int x = 3;", "const auto& y = z->w;", "return x + 1;", "store.put(key, value);", "if (x) {",
        "for (int i = 0; i < 3; ++i) {", "} else {", "}", "#include <string>", "std::vector<int> v(3);", "x += 2;",
        "void f(int x) {", "RETURN_IF_ERROR(open(path));", "while (true) {"}) {
    EXPECT_THAT(found("base/x.cc", std::string("// ") + code + "\n"),
                ElementsAre("base/x.cc:1: [leftover] commented-out code: " + std::string(code)))
        << code;
  }
  for (const char* prose :
       {"The value; a programmer's mistake when there is none.", "Never blocks;", "as it was (see plan.h);",
        "Declares `lhs` from a Result, or returns its Status: ASSIGN_OR_RETURN(auto file, open(path));",
        "2 * (number of the point + 1) when it is whole;", "returns at once, or waits; see below", "{a, b} is a pair",
        "the set {1, 2}", "# is a mark", "If x holds, y does;"}) {
    EXPECT_THAT(found("base/x.cc", std::string("// ") + prose + "\n"), IsEmpty()) << prose;
  }
  EXPECT_THAT(found("base/x.cc", "/*\n * foo(bar);\n */\n"),
              ElementsAre("base/x.cc:2: [leftover] commented-out code: foo(bar);"));
}

TEST(House, NoFileNamesThisMachineOrARegistry) {
  EXPECT_THAT(found("scripts/x",
                    "pip install --index-url https://pypi"
                    ".org/simple x\n"),
              ElementsAre("scripts/x:1: [private] pypi"
                          ".org: a registry's address belongs to its client's "
                          "configuration"));
  EXPECT_THAT(found("docs/x.md", std::string("cd ") + kRoot + "/base\n"),
              ElementsAre("docs/x.md:1: [private] names the directory of this checkout"));
  EXPECT_THAT(found("docs/x.md",
                    "cd /ho"
                    "me/somebody\n"),
              Contains(HasSubstr("one machine only")));
}

TEST(House, ACrashPointHasANameOfItsOwn) {
  EXPECT_THAT(found("base/x.cc", "  CRASH_POINT(\"x.file.before_sync\");\n  CRASH_POINT(\"x.file.after_sync\");\n"),
              IsEmpty());
  EXPECT_THAT(found("base/x.cc", "CRASH_POINT(\"x.file.before_sync\");\n\nCRASH_POINT(\"x.file.before_sync\");\n"),
              ElementsAre("base/x.cc:3: [crash-point] x.file.before_sync is also the name of base/x.cc:1"));
  for (const char* name :
       {"name", "\"x.sync\"", "\"x.file.before-sync\"", "\"x.file.before.sync\"", "\"X.file.sync\"", ""}) {
    EXPECT_THAT(found("base/x.cc", std::string("CRASH_POINT(") + name + ");\n"),
                ElementsAre("base/x.cc:1: [crash-point] its name is a literal on the same line: \"area.thing.moment\""))
        << name;
  }
  EXPECT_THAT(found("tests/x.cc", "CRASH_POINT(\"test.once\");\n"), IsEmpty());
}

TEST(House, LinesAreCountedAcrossCommentsAndLiterals) {
  auto source = read_cpp("int a;  /* one\n * two */ int b;\n#include <x>  // three\n// #include <y>\n");
  ASSERT_EQ(source.lines.size(), 4U);
  EXPECT_EQ(source.code[0], "int a;        ");
  EXPECT_EQ(trimmed(source.code[1]), "int b;");
  ASSERT_EQ(source.includes.size(), 1U);
  EXPECT_EQ(source.includes[0].path, "x");
  EXPECT_EQ(source.includes[0].line, 3U);
  ASSERT_EQ(source.comments.size(), 4U);
  EXPECT_EQ(source.comments[1].text, "two");
  EXPECT_EQ(source.comments[1].line, 2U);
  EXPECT_EQ(source.comments[3].line, 4U);
}

}  // namespace
}  // namespace freshet::house
