#include "scheduler/text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace freshet::scheduler {
namespace {

TEST(Text, NumbersAreShortButNeverAmbiguous) {
  EXPECT_EQ(exact(0.53), "0.53");
  EXPECT_EQ(exact(-0.002), "-0.002");
  EXPECT_EQ(exact(std::nan("")), "nan");
  EXPECT_EQ(exact(-std::nan("")), "nan");
  EXPECT_EQ(exact(HUGE_VAL), "inf");
  EXPECT_EQ(rounded(0.50312), "0.5031");
  EXPECT_EQ(rounded(-std::nan("")), "nan");
  EXPECT_EQ(rounded_against(0.50312, 0.53), "0.5031");
  EXPECT_EQ(rounded_against(0.529998, 0.53), "0.529998");
  EXPECT_EQ(rounded_against(0.53, 0.53), "0.53");
  EXPECT_EQ(rounded_against(0.123456, 0.123457), "0.123456");
  EXPECT_EQ(rounded_against(std::nextafter(1.0, 0.0), 1.0), "0.9999999999999999");
}

TEST(Text, CountsHaveAPlural) {
  EXPECT_EQ(counted(1, "slot"), "1 slot");
  EXPECT_EQ(counted(0, "row"), "0 rows");
  EXPECT_EQ(counted(1, "new entry"), "1 new entry");
  EXPECT_EQ(counted(2, "new entry"), "2 new entries");
  EXPECT_EQ(joined({"a", "b"}), "a, b");
  EXPECT_EQ(joined({}), "");
}

}  // namespace
}  // namespace freshet::scheduler
