#include "daemon/http/authenticator.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>

#include "base/file.h"

namespace freshet::http {
namespace {

class ManualClock final : public Clock {
 public:
  Time now() const override { return time; }
  Time monotonic() const override { return time; }
  Time time = {1'000'000};
};

class AuthenticatorTest : public ::testing::Test {
 protected:
  AuthenticatorTest() : random_(11), authenticator_(clock_), token_(new_token("admin", random_)) {
    authenticator_.add_token("admin", token_, PermissionSet::all());
    char path[] = "/tmp/freshet-auth-XXXXXX";
    directory_ = ::mkdtemp(path);
  }
  ~AuthenticatorTest() override { std::filesystem::remove_all(directory_); }

  ManualClock clock_;
  SeededRandom random_;
  Authenticator authenticator_;
  std::string token_;
  std::filesystem::path directory_;
};

TEST_F(AuthenticatorTest, KnowsItsTokens) {
  std::string reader = new_token("reader", random_);
  authenticator_.add_token("reader", reader, {Permission::kRead});
  Result<Principal> admin = authenticator_.authenticate("Bearer " + token_, "127.0.0.1");
  ASSERT_TRUE(admin.is_ok());
  EXPECT_EQ(admin->name(), "admin");
  EXPECT_TRUE(admin->may(Permission::kPromote));
  Result<Principal> other = authenticator_.authenticate("Bearer " + reader, "127.0.0.1");
  ASSERT_TRUE(other.is_ok());
  EXPECT_TRUE(other->may(Permission::kRead));
  EXPECT_FALSE(other->may(Permission::kSubmit));
  EXPECT_FALSE(Authenticator::anonymous().may(Permission::kRead));
}

TEST_F(AuthenticatorTest, RefusesAllElse) {
  std::string other = token_;
  other.back() = other.back() == 'A' ? 'B' : 'A';
  for (const std::string& header :
       {"Bearer " + other, "bearer " + token_, token_, "Basic " + token_, "Bearer  " + token_, "Bearer " + token_ + " ",
        "Bearer " + token_.substr(1), std::string("Bearer "), "Bearer " + token_ + token_}) {
    EXPECT_EQ(authenticator_.authenticate(header, "127.0.0.1").status().code(), Code::kUnauthenticated) << header;
  }
  Status missing = authenticator_.authenticate("", "127.0.0.1").status();
  EXPECT_EQ(missing.code(), Code::kUnauthenticated);
  EXPECT_NE(missing.message().find("Authorization: Bearer"), std::string::npos);
}

TEST_F(AuthenticatorTest, SlowsAPeerThatGuesses) {
  std::string guess = "Bearer " + new_token("admin", random_);
  int refused = 0;
  while (authenticator_.authenticate(guess, "10.0.0.1").status().code() == Code::kUnauthenticated)
    ASSERT_LT(++refused, 100);
  EXPECT_EQ(refused, 20);
  EXPECT_EQ(authenticator_.authenticate(guess, "10.0.0.1").status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(authenticator_.authenticate("Bearer " + token_, "10.0.0.1").is_ok()) << "nobody can lock others out";
  EXPECT_EQ(authenticator_.authenticate(guess, "10.0.0.2").status().code(), Code::kUnauthenticated);
  clock_.time = clock_.time + Duration::seconds(61);
  EXPECT_EQ(authenticator_.authenticate(guess, "10.0.0.1").status().code(), Code::kUnauthenticated);
}

TEST_F(AuthenticatorTest, TokensHaveTheirFormAndDiffer) {
  std::set<std::string> tokens;
  for (int i = 0; i < 100; ++i) {
    std::string token = new_token("admin", random_);
    EXPECT_EQ(token.size(), 53u);
    EXPECT_TRUE(token.starts_with("fsh_admin_"));
    EXPECT_TRUE(tokens.insert(token).second);
  }
}

TEST_F(AuthenticatorTest, MakesTheFileOnceAndForItsOwnerOnly) {
  std::filesystem::path path = directory_ / "admin.token";
  Result<std::string> first = load_or_create_token(path, "admin", random_);
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(*load_or_create_token(path, "admin", random_), *first);

  std::filesystem::permissions(path, std::filesystem::perms(0644));
  Status open_to_all = load_or_create_token(path, "admin", random_).status();
  EXPECT_EQ(open_to_all.code(), Code::kPermissionDenied);
  EXPECT_NE(open_to_all.message().find("chmod 600"), std::string::npos);

  ASSERT_TRUE(write_file_durably(path, "hello\n", 0600).is_ok());
  EXPECT_EQ(load_or_create_token(path, "admin", random_).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace freshet::http
