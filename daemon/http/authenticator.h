// Authenticator: turns an Authorization header into a Principal. It keeps only the SHA-256 of each token and compares
// in constant time. A peer that fails too often is told to wait; a valid token always passes, because all users of a
// machine share one loopback address and nobody may lock the others out. Owned by the app; authenticate() from any
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/time.h"
#include "daemon/http/principal.h"

namespace freshet::http {

// "fsh_" + name + "_" + 256 random bits as 43 base64url characters. The prefix lets scanners find leaked tokens.
std::string new_token(std::string_view name, Random& random);

// The token in the file, or a new one of that name written there durably with mode 0600. permission_denied when the
// file can be read by others, corrupt when it holds no token.
Result<std::string> load_or_create_token(const std::filesystem::path& path, std::string_view name, Random& random);

class Authenticator {
 public:
  explicit Authenticator(const Clock& clock) : clock_(clock) {}

  // Before the server starts.
  void add_token(std::string name, std::string_view token, PermissionSet permissions);

  // The holder of "Bearer <token>". unauthenticated: no or an unknown token. resource_exhausted: the same, from a peer
  // with too many failures lately.
  Result<Principal> authenticate(std::string_view authorization, const std::string& peer);

  // For the public routes.
  static Principal anonymous() { return Principal("anonymous", {Permission::kPublic}); }

 private:
  struct Entry {
    std::string name;
    Sha256::Digest digest;
    PermissionSet permissions;
  };
  struct Failures {
    Time window_start;
    uint32_t count = 0;
  };

  // Counts a failure of the peer; whether it has had too many.
  bool note_failure(const std::string& peer);

  const Clock& clock_;
  std::vector<Entry> entries_;
  std::mutex mutex_;
  std::map<std::string, Failures> failures_;  // guarded by mutex_; bounded
};

}  // namespace freshet::http
