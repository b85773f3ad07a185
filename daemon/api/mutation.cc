#include "daemon/api/mutation.h"

#include <algorithm>

#include "base/sha256.h"
#include "proto/digest.h"

namespace freshet::api {
namespace {

constexpr size_t kKeyBytesMax = 128;
constexpr char kKeyField[] = "idempotency_key";

// Quotes around it, as a structured header has them, are no part of the key.
std::string without_quotes(const std::string& text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') return text.substr(1, text.size() - 2);
  return text;
}

// What some bodies say instead of the header.
std::string key_in(const google::protobuf::Message& body) {
  const auto* field = body.GetDescriptor()->FindFieldByName(kKeyField);
  return field == nullptr ? "" : body.GetReflection()->GetString(body, field);
}

std::string digest_of(const http::Request& request, const google::protobuf::Message& body) {
  std::string text = request.method + " " + request.path + "\n";
  for (const auto& [name, value] : request.query) text += name + "=" + value + "\n";
  return Sha256::hex_of(text + "\n" + message_digest(body));
}

}  // namespace

Result<control::Caller> caller_of(const http::Principal& who, const http::Request& request,
                                  const google::protobuf::Message& body) {
  control::Caller caller{who.name(), key_in(body), ""};
  if (!request.idempotency_key.empty()) {
    const std::string key = without_quotes(request.idempotency_key);
    if (!caller.key.empty() && caller.key != key) {
      return invalid_argument("the header Idempotency-Key and the body's idempotency_key differ; give one of them");
    }
    caller.key = key;
    if (key.empty()) return invalid_argument("the header Idempotency-Key is empty; leave it out, or give a key");
  }
  if (caller.key.empty()) return caller;
  const bool is_visible = std::all_of(caller.key.begin(), caller.key.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!is_visible || caller.key.size() > kKeyBytesMax) {
    return invalid_argument("an idempotency key is 1 to " + std::to_string(kKeyBytesMax) +
                            " visible ASCII characters without blanks; 32 random hex digits are a good one");
  }
  caller.request_digest = digest_of(request, body);
  return caller;
}

}  // namespace freshet::api
