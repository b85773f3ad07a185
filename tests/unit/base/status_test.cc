#include "base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace freshet {
namespace {

TEST(Status, IsOkByDefault) {
  Status status;
  EXPECT_TRUE(status.is_ok());
  EXPECT_EQ(status.code(), Code::kOk);
  EXPECT_EQ(status.to_string(), "ok");
  EXPECT_EQ(status.message(), "");
}

TEST(Status, CarriesCodeMessageAndPlace) {
  Status status = not_found("no such pipeline");
  EXPECT_FALSE(status.is_ok());
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_EQ(status.message(), "no such pipeline");
  EXPECT_EQ(status.to_string(), "not_found: no such pipeline");
  EXPECT_TRUE(status.where().starts_with("tests/unit/base/status_test.cc:")) << status.where();
}

TEST(Status, ContextGoesInFrontAndKeepsTheRest) {
  Status status = conflict("alias has moved").with_context("promote flights/3");
  EXPECT_EQ(status.to_string(), "conflict: promote flights/3: alias has moved");
  EXPECT_TRUE(status.where().starts_with("tests/unit/base/status_test.cc:"));
  EXPECT_TRUE(Status::ok().with_context("anything").is_ok());
  EXPECT_EQ(Status::ok().with_context("anything").message(), "");
}

TEST(Status, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code) {
    EXPECT_TRUE(names.insert(code_name(static_cast<Code>(code))).second) << code;
  }
  EXPECT_EQ(names.size(), 13U);
  EXPECT_EQ(code_name(Code::kResourceExhausted), "resource_exhausted");
}

TEST(Status, ErrnoBecomesTheCodeThatACallerCanActOn) {
  EXPECT_EQ(errno_status("open /x", ENOENT).to_string(), "not_found: open /x: No such file or directory");
  EXPECT_EQ(errno_status("write /x", ENOSPC).code(), Code::kResourceExhausted);
  EXPECT_EQ(errno_status("write /x", EDQUOT).code(), Code::kResourceExhausted);
  EXPECT_EQ(errno_status("open /x", EACCES).to_string(), "unavailable: open /x: Permission denied");
}

Result<int> parse(const std::string& text) {
  if (text.empty()) return invalid_argument("the text is empty");
  return static_cast<int>(text.size());
}

Result<int> doubled(const std::string& text) {
  ASSIGN_OR_RETURN(int value, parse(text));
  ASSIGN_OR_RETURN(int again, parse(text));
  return value + again;
}

Status check_text(const std::string& text) {
  RETURN_IF_ERROR(parse(text).status());
  return Status::ok();
}

TEST(Result, HoldsAValueOrTheStatusThatSaysWhyNot) {
  auto good = parse("abc");
  ASSERT_TRUE(good.is_ok());
  EXPECT_EQ(*good, 3);
  EXPECT_TRUE(good.status().is_ok());
  auto bad = parse("");
  EXPECT_FALSE(bad.is_ok());
  EXPECT_EQ(bad.status().code(), Code::kInvalidArgument);
}

TEST(Result, TheMacrosPassErrorsOn) {
  EXPECT_EQ(*doubled("abc"), 6);
  EXPECT_EQ(doubled("").status().message(), "the text is empty");
  EXPECT_TRUE(check_text("abc").is_ok());
  EXPECT_EQ(check_text("").code(), Code::kInvalidArgument);
}

TEST(Result, ContextGoesInFrontOfTheError) {
  EXPECT_EQ(parse("").with_context("line 3").status().message(), "line 3: the text is empty");
  EXPECT_EQ(*parse("abc").with_context("line 3"), 3);
}

TEST(Result, HoldsWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 7);
}

TEST(ResultDeathTest, MisuseEndsTheProcessWithThePlace) {
  EXPECT_DEATH((void)*parse(""), "status.h.*is_ok");
  EXPECT_DEATH((void)Result<int>(Status::ok()), "status.h");
}

}  // namespace
}  // namespace freshet
