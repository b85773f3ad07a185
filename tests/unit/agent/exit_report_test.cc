#include "agent/exit_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "agent/text.h"

namespace freshet::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What mpirun 4.1.4 has printed; recorded, not composed.
constexpr const char* kExitNotice =
    "loading data\n"
    "--------------------------------------------------------------------------\n"
    "Primary job  terminated normally, but 1 process returned\n"
    "a non-zero exit code. Per user-direction, the job has been aborted.\n"
    "--------------------------------------------------------------------------\n"
    "--------------------------------------------------------------------------\n"
    "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
    "the job to be terminated. The first process to do so was:\n"
    "\n"
    "  Process name: [[10832,1],1]\n"
    "  Exit code:    3\n"
    "--------------------------------------------------------------------------\n";
constexpr const char* kSignalNotice =
    "--------------------------------------------------------------------------\n"
    "mpirun noticed that process rank 11 with PID 0 on node vm exited on signal 11 (Segmentation fault).\n"
    "--------------------------------------------------------------------------\n";
constexpr const char* kAbortNotice =
    "--------------------------------------------------------------------------\n"
    "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n"
    "with errorcode 4.\n"
    "\n"
    "NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.\n"
    "--------------------------------------------------------------------------\n";
constexpr const char* kMissingNotice =
    "--------------------------------------------------------------------------\n"
    "mpirun was unable to launch the specified application as it could not access\n"
    "or execute an executable:\n"
    "--------------------------------------------------------------------------\n";

ExitFacts exited(int code) {
  ExitFacts facts;
  facts.wait_status = W_EXITCODE(code, 0);
  return facts;
}

ExitFacts killed(int signal) {
  ExitFacts facts;
  facts.wait_status = W_EXITCODE(0, signal);
  return facts;
}

TEST(ExitReportTest, SuccessHasNoMessage) {
  auto exit = classify_exit(exited(0));
  EXPECT_EQ(exit.cause(), v1::ExitRecord::EXITED);
  EXPECT_EQ(exit.code(), 0);
  EXPECT_EQ(exit.message(), "");
}

TEST(ExitReportTest, MpirunNamesTheRankAndItsNoticesAreLeftOut) {
  ExitFacts facts = exited(3);
  facts.ranks = 2;
  facts.stderr_text = kExitNotice;
  auto exit = classify_exit(facts);
  EXPECT_EQ(exit.code(), 3);
  EXPECT_EQ(exit.message(), "rank 1 exited with code 3: loading data");
}

TEST(ExitReportTest, ASignalThatMpirunReportsIsASignal) {
  ExitFacts facts = exited(139);
  facts.ranks = 12;
  facts.stderr_text = kSignalNotice;
  auto exit = classify_exit(facts);
  EXPECT_EQ(exit.cause(), v1::ExitRecord::SIGNALLED);
  EXPECT_EQ(exit.signal(), SIGSEGV);
  EXPECT_EQ(exit.message(), "rank 11 was killed by SIGSEGV and printed nothing");
}

TEST(ExitReportTest, AnAbortNamesItsRankAndCode) {
  ExitFacts facts = exited(4);
  facts.ranks = 2;
  facts.stderr_text = kAbortNotice;
  EXPECT_EQ(classify_exit(facts).message(), "rank 1 exited with code 4 and printed nothing");
}

TEST(ExitReportTest, WhatMpirunSaysAboutAnythingElseIsKept) {
  ExitFacts facts = exited(132);
  facts.ranks = 2;
  facts.stderr_text = kMissingNotice;
  EXPECT_THAT(classify_exit(facts).message(), HasSubstr("could not access\nor execute"));
}

TEST(ExitReportTest, ADeadMpirunIsNotBlamedOnARank) {
  ExitFacts facts = killed(SIGKILL);
  facts.ranks = 2;
  EXPECT_EQ(classify_exit(facts).message(), "mpirun was killed by SIGKILL, cause unknown and printed nothing");
}

TEST(ExitReportTest, OutOfMemoryNeedsTheKernelsCount) {
  ExitFacts facts = killed(SIGKILL);
  facts.out_of_memory_kills = 0;
  EXPECT_EQ(classify_exit(facts).cause(), v1::ExitRecord::SIGNALLED);
  facts.out_of_memory_kills = 1;
  facts.failure = "rank 0 has lost rank 1";
  auto exit = classify_exit(facts);
  EXPECT_EQ(exit.cause(), v1::ExitRecord::OUT_OF_MEMORY);
  EXPECT_EQ(exit.signal(), SIGKILL);
  EXPECT_THAT(exit.message(), HasSubstr("out of memory"));
  // A helper that was killed for memory while the rank itself ended otherwise.
  ExitFacts other = exited(2);
  other.out_of_memory_kills = 1;
  EXPECT_EQ(classify_exit(other).cause(), v1::ExitRecord::EXITED);
}

TEST(ExitReportTest, ARequestOrALimitExplainsHowItEnded) {
  ExitFacts facts = killed(SIGTERM);
  facts.timed_out = true;
  facts.timeout_s = 60;
  EXPECT_EQ(classify_exit(facts).cause(), v1::ExitRecord::TIMED_OUT);
  facts.interrupted = true;
  EXPECT_EQ(classify_exit(facts).cause(), v1::ExitRecord::LOST);
  facts.stop_requested = true;
  EXPECT_EQ(classify_exit(facts).cause(), v1::ExitRecord::STOPPED);
  EXPECT_EQ(classify_exit(facts).message(), "stopped by request");
}

TEST(ExitReportTest, ABadOutputIsNoSuccess) {
  ExitFacts facts = exited(0);
  facts.output_error = "it left no directory \"x\"";
  auto exit = classify_exit(facts);
  EXPECT_EQ(exit.code(), 1);
  EXPECT_EQ(exit.message(), "exited with code 0, but it left no directory \"x\"");
}

TEST(ExitReportTest, OnlyTheLastLinesAreQuoted) {
  std::string text;
  for (int i = 1; i <= 100; ++i) text += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(last_lines(text + "\n  \n", 2, 1000), "line 99\nline 100");
  EXPECT_EQ(last_lines("a\nb", 5, 1000), "a\nb");
  EXPECT_EQ(last_lines("abcdef", 5, 3), "def");
  EXPECT_EQ(last_lines(" \n\n", 5, 100), "");
  ExitFacts facts = exited(1);
  facts.stderr_text = text;
  EXPECT_THAT(classify_exit(facts).message(), HasSubstr("line 91\n"));
  EXPECT_THAT(classify_exit(facts).message(), Not(HasSubstr("line 90\n")));
}

TEST(TextTest, WhatIsNotUtf8IsReplacedByteByByte) {
  EXPECT_EQ(valid_utf8("plain"), "plain");
  EXPECT_EQ(valid_utf8("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(valid_utf8("a\xff"), "a?");
  EXPECT_EQ(valid_utf8("\xc0\x80"), "??");            // overlong
  EXPECT_EQ(valid_utf8("\xe0\x80\x80"), "???");       // overlong
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "???");       // a surrogate
  EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"), "????");  // above U+10FFFF
  EXPECT_EQ(valid_utf8("\xe2\x82"), "??");            // cut short
}

}  // namespace
}  // namespace freshet::agent
