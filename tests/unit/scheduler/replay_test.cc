#include "scheduler/replay.h"

#include <gtest/gtest.h>

#include "tests/unit/scheduler/text_proto.h"

namespace freshet::scheduler {
namespace {

const std::string kEqual =
    "is_equal: true is_same_numerics: true weights_digest: 'aaaaaaaaaaaaaaaa' replayed_weights_digest: "
    "'aaaaaaaaaaaaaaaa' ";
const std::string kOther = "weights_digest: 'aaaaaaaaaaaaaaaa' replayed_weights_digest: 'bbbbbbbbbbbbbbbb' ";
const std::string kDifferences =
    "differences { name: 'x' elements: 4 different: 1 largest_absolute: 0.5 largest_relative: 0.01 } "
    "differences { name: 'y' elements: 4 different: 4 largest_absolute: 0.25 largest_relative: 0.125 } ";

v1::ReplayReport report_of(const std::string& text) { return parse<v1::ReplayReport>(text); }
std::string said(const std::string& text) { return explain_replay(report_of(text)); }

TEST(Replay, IsRefutedWhenNothingElseExplainsOtherWeights) {
  EXPECT_FALSE(is_refuted(report_of(kEqual)));
  EXPECT_TRUE(is_refuted(report_of(kOther + "is_same_numerics: true")));
  EXPECT_FALSE(is_refuted(report_of(kOther)));
  EXPECT_FALSE(is_refuted(report_of(kOther + "is_same_numerics: true other_start: 'flights/1'")));
}

TEST(Replay, IsExplained) {
  EXPECT_EQ(said(kEqual), "the same weights bit for bit, aaaaaaaaaaaa");
  EXPECT_EQ(said(kOther + kDifferences + "is_same_numerics: true"),
            "other weights, bbbbbbbbbbbb instead of aaaaaaaaaaaa; 2 tensors differ by at most 0.5 (relative 0.125)");
  EXPECT_EQ(
      said(kOther + "is_same_numerics: true not_compared: 'it was collected'"),
      "other weights, bbbbbbbbbbbb instead of aaaaaaaaaaaa; how far they are off can't be said: it was collected");
  EXPECT_EQ(said(kOther + "is_same_numerics: true not_compared: 'x' other_start: 'flights/1'"),
            "other weights, bbbbbbbbbbbb instead of aaaaaaaaaaaa; how far they are off can't be said: x; flights/1, "
            "which it started from, was collected and came out differently");
}

TEST(Replay, NamesWhatIsOtherInTheNumerics) {
  EXPECT_EQ(said(kOther + "not_compared: 'x' "
                          "numerics { engine_build: 'aaaaaaaaaaaaaaaa' instruction_set: 'avx2' libraries: 'oneDNN 2' "
                          "libraries: 'glibc 2' device: 'cpu' } "
                          "replayed_numerics { engine_build: 'bbbbbbbbbbbbbbbb' instruction_set: 'sse41' libraries: "
                          "'oneDNN 3' libraries: 'glibc 2' device: 'cpu' }"),
            "other weights, bbbbbbbbbbbb instead of aaaaaaaaaaaa; how far they are off can't be said: x; by other "
            "numerics: engine build bbbbbbbbbbbb instead of aaaaaaaaaaaa, instruction set sse41 instead of avx2, "
            "libraries oneDNN 3, glibc 2 instead of oneDNN 2, glibc 2");
  EXPECT_EQ(said(kOther + "not_compared: 'x' numerics { products: 'cccccccccccccccc' }"),
            "other weights, bbbbbbbbbbbb instead of aaaaaaaaaaaa; how far they are off can't be said: x; by other "
            "numerics: table of products none instead of cccccccccccc");
}

}  // namespace
}  // namespace freshet::scheduler
