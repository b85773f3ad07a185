#include "net/address_policy.h"

#include <gtest/gtest.h>

namespace freshet::net {
namespace {

TEST(AddressPolicy, RefusesWhatIsNotPublic) {
  const AddressPolicy policy = *AddressPolicy::parse({});
  for (const char* address : {"127.0.0.1",
                              "127.255.255.254",
                              "0.0.0.0",
                              "10.0.0.1",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.168.1.1",
                              "169.254.169.254",
                              "100.64.0.1",
                              "100.127.255.255",
                              "192.0.0.1",
                              "192.0.2.1",
                              "198.18.0.1",
                              "198.19.255.255",
                              "198.51.100.1",
                              "203.0.113.1",
                              "224.0.0.1",
                              "239.255.255.255",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "fe80::1",
                              "febf::1",
                              "fc00::1",
                              "fdff::1",
                              "ff02::1",
                              "::ffff:127.0.0.1",
                              "::ffff:10.0.0.1",
                              "::ffff:a9fe:a9fe",
                              "::127.0.0.1",
                              "64:ff9b::7f00:1",
                              "64:ff9b:1::1",
                              "2001:db8::1",
                              "2001::1",
                              "2002:7f00:1::1",
                              "2002:0a00:0001::",
                              "3fff::1",
                              "fec0::1",
                              "100::1",
                              "4000::1"}) {
    EXPECT_EQ(policy.check(address).code(), Code::kPermissionDenied) << address;
  }
  EXPECT_EQ(policy.check("::ffff:127.0.0.1").message(), "::ffff:127.0.0.1 is a loopback address");
  EXPECT_EQ(policy.check("localhost").code(), Code::kInvalidArgument) << "only addresses are judged";
}

TEST(AddressPolicy, LetsPublicAddressesThrough) {
  const AddressPolicy policy = *AddressPolicy::parse({});
  for (const char* address :
       {"1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.167.255.255",
        "223.255.255.255", "::ffff:8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"}) {
    EXPECT_TRUE(policy.check(address).is_ok()) << policy.check(address).to_string();
  }
}

TEST(AddressPolicy, AllowsWhatTheConfigurationAllows) {
  const AddressPolicy policy = *AddressPolicy::parse({"127.0.0.0/8", "10.1.2.3", "fd00::/9"});
  for (const char* address : {"127.0.0.1", "::ffff:127.1.2.3", "10.1.2.3", "fd7f::1"}) {
    EXPECT_TRUE(policy.check(address).is_ok()) << policy.check(address).to_string();
  }
  for (const char* address : {"10.1.2.2", "10.1.2.4", "fd80::1", "::1", "128.0.0.1.", "192.168.0.1"}) {
    EXPECT_FALSE(policy.check(address).is_ok()) << address;
  }
  EXPECT_TRUE(AddressPolicy::parse({"0.0.0.0/0"})->check("10.0.0.1").is_ok());
  EXPECT_FALSE(AddressPolicy::parse({"0.0.0.0/0"})->check("::1").is_ok()) << "IPv4 alone";
}

TEST(AddressPolicy, NamesWhatIsNoRange) {
  for (const char* text :
       {"", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "::/129", "10.0.0.0/8/8", "10/8"}) {
    Status status = AddressPolicy::parse({text}).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_NE(status.message().find("'" + std::string(text) + "'"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace freshet::net
