#include "daemon/http/authenticator.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/file.h"

namespace freshet::http {
namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr std::string_view kPrefix = "fsh_";
constexpr size_t kSecretCharacters = 43;  // 256 bits, six in each
constexpr size_t kTokenBytesMax = 256;
constexpr Duration kFailureWindow = Duration::seconds(60);
constexpr uint32_t kFailuresMax = 20;  // per peer and window
constexpr size_t kPeersMax = 4096;

bool is_base64url(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool is_token(std::string_view text) {
  return text.starts_with(kPrefix) && text.size() > kPrefix.size() + kSecretCharacters &&
         text.size() <= kTokenBytesMax && std::all_of(text.begin(), text.end(), is_base64url);
}

bool equal_in_constant_time(const Sha256::Digest& a, const Sha256::Digest& b) {
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

std::string_view permission_name(Permission permission) {
  switch (permission) {
    case Permission::kPublic:
      return "public";
    case Permission::kRead:
      return "read";
    case Permission::kSubmit:
      return "submit";
    case Permission::kOperate:
      return "operate";
    case Permission::kPromote:
      return "promote";
    case Permission::kAgent:
      return "agent";
  }
  CHECK_MSG(false, "unknown permission");
}

std::string new_token(std::string_view name, Random& random) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string token = std::string(kPrefix) + std::string(name) + "_";
  CHECK(std::all_of(name.begin(), name.end(), is_base64url));
  uint64_t bits = 0;
  int left = 0;
  for (size_t i = 0; i < kSecretCharacters; ++i) {
    if (left < 6) {
      bits = random.next();
      left = 64;
    }
    token += kAlphabet[bits & 63];
    bits >>= 6;
    left -= 6;
  }
  return token;
}

Result<std::string> load_or_create_token(const std::filesystem::path& path, std::string_view name, Random& random) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return errno_status("stat " + path.string(), errno);
    std::string token = new_token(name, random);
    RETURN_IF_ERROR(write_file_durably(path, token + "\n", 0600));
    return token;
  }
  if ((info.st_mode & 077) != 0) {
    return permission_denied("the token file " + path.string() + " is open to other users; run chmod 600 on it");
  }
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  if (!is_token(text)) {
    return corrupt("the token file " + path.string() + " does not hold a token; remove it to have a new one made");
  }
  return text;
}

void Authenticator::add_token(std::string name, std::string_view token, PermissionSet permissions) {
  entries_.push_back({std::move(name), Sha256::of(token), permissions});
}

Result<Principal> Authenticator::authenticate(std::string_view authorization, const std::string& peer) {
  if (authorization.empty()) {
    // Somebody who has not been told yet; guesses nothing, so it is not counted.
    return unauthenticated("send the token: Authorization: Bearer <content of admin.token in the data directory>");
  }
  std::string_view token;
  if (authorization.starts_with(kScheme)) token = authorization.substr(kScheme.size());
  if (is_token(token)) {
    Sha256::Digest digest = Sha256::of(token);
    const Entry* found = nullptr;
    for (const Entry& entry : entries_) {  // all of them, so that the time does not tell which one
      if (equal_in_constant_time(entry.digest, digest)) found = &entry;
    }
    if (found) return Principal(found->name, found->permissions);
  }
  if (note_failure(peer)) {
    return resource_exhausted("too many refused credentials from " + peer + "; try again in a minute");
  }
  return unauthenticated("the token is not valid for this daemon");
}

bool Authenticator::note_failure(const std::string& peer) {
  std::lock_guard lock(mutex_);
  Time now = clock_.monotonic();
  if (failures_.size() >= kPeersMax) {
    std::erase_if(failures_, [&](const auto& item) { return now - item.second.window_start > kFailureWindow; });
    if (failures_.size() >= kPeersMax) failures_.clear();
  }
  Failures& failures = failures_.try_emplace(peer, Failures{now, 0}).first->second;
  if (now - failures.window_start > kFailureWindow) failures = {now, 0};
  return ++failures.count > kFailuresMax;
}

}  // namespace freshet::http
