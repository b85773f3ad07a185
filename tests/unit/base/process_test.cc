// Who a process is: every part of the identity must agree, the pid alone is not enough.
#include "base/process.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace freshet {
namespace {

TEST(Process, EveryPartOfTheIdentityMustAgree) {
  auto self = identify(::getpid());
  ASSERT_TRUE(self.is_ok()) << self.status().to_string();
  EXPECT_TRUE(is_running(*self));
  ProcessId other = *self;
  other.start_ticks += 1;
  EXPECT_FALSE(is_running(other)) << "started at another time";
  other = *self;
  other.boot_id = "another boot";
  EXPECT_FALSE(is_running(other));
  other = *self;
  other.cgroup = "/freshet/some-gang/ranks";
  EXPECT_FALSE(is_running(other)) << "in another cgroup";
  other.cgroup.clear();
  EXPECT_TRUE(is_running(other)) << "nobody knows its cgroup, so that says nothing";
}

TEST(Process, TheCgroupIsThePathInTheTreeOfVersionTwo) {
  auto cgroup = process_cgroup(::getpid());
  ASSERT_TRUE(cgroup.is_ok());
  if (cgroup->empty()) GTEST_SKIP() << "this machine has no cgroups of version 2";
  EXPECT_EQ(cgroup->front(), '/');
  EXPECT_EQ(cgroup->find('\n'), std::string::npos);
  EXPECT_EQ(process_cgroup(0).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace freshet
