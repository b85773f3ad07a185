#include "base/hmac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"
#include "base/sha256.h"

namespace freshet {

std::string hmac_sha256_hex(std::string_view key, std::string_view message) {
  Sha256::Digest digest{};
  unsigned size = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(message.data());
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes, message.size(), digest.data(), &size));
  CHECK(size == digest.size());
  return to_hex(digest.data(), digest.size());
}

}  // namespace freshet
