#include "base/sha256.h"

#include <gtest/gtest.h>

namespace freshet {
namespace {

// The examples of FIPS 180.
TEST(Sha256, GivesTheKnownAnswers) {
  EXPECT_EQ(Sha256::hex_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256::hex_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256::hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256::hex_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameAsTheWhole) {
  std::string text(1000, 'x');
  for (size_t piece : {1U, 7U, 64U, 999U}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += piece) hash.update(std::string_view(text).substr(at, piece));
    EXPECT_EQ(hash.finish_hex(), Sha256::hex_of(text)) << piece;
  }
}

TEST(Sha256, KnowsItsOwnHexForm) {
  EXPECT_TRUE(is_sha256_hex(Sha256::hex_of("")));
  EXPECT_FALSE(is_sha256_hex(""));
  EXPECT_FALSE(is_sha256_hex(std::string(63, '0')));
  EXPECT_FALSE(is_sha256_hex(std::string(65, '0')));
  EXPECT_FALSE(is_sha256_hex(std::string(63, '0') + "A"));
  EXPECT_FALSE(is_sha256_hex(std::string(63, '0') + "g"));
  uint8_t bytes[] = {0x00, 0x0f, 0xa5, 0xff};
  EXPECT_EQ(to_hex(bytes, sizeof bytes), "000fa5ff");
}

}  // namespace
}  // namespace freshet
