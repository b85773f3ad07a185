#include <algorithm>

#include "proto/events.h"
#include "proto/validate.h"
#include "proto/validate_rules.h"

namespace freshet {
namespace {

// Set by the sender, or decisive for how the request is read.
constexpr std::string_view kReservedHeaders[] = {"host",       "connection", "content-length",      "transfer-encoding",
                                                 "upgrade",    "expect",     "content-type",        "user-agent",
                                                 "keep-alive", "te",         "x-hub-signature-256", "trailer"};

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

bool is_header_name(std::string_view text) {
  auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), is_plain);
}

bool is_visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

void check_file(const std::string& file, const std::string& path, Mistakes* mistakes) {
  mistakes->require(file.empty() || file.front() == '/', path,
                    "'" + file + "' is no absolute path; name a file on the daemon's machine");
}

void check_header_field(const v1::WebhookHeader& header, const std::string& path, Mistakes* mistakes) {
  const std::string name = lower(header.name());
  mistakes->require(is_header_name(header.name()), path + ".name", "'" + header.name() + "' is no name of a header");
  const bool is_reserved =
      std::find(std::begin(kReservedHeaders), std::end(kReservedHeaders), name) != std::end(kReservedHeaders) ||
      name.starts_with("x-freshet-");
  mistakes->require(!is_reserved, path + ".name", "'" + header.name() + "' is set by the daemon; leave it out");
  mistakes->require(header.value().empty() != header.value_file().empty(), path,
                    "has to have either value or value_file");
  mistakes->require(is_visible(header.value()), path + ".value", "holds a character that may not be in a header");
  mistakes->require(name != "authorization" || header.value().empty(), path + ".value",
                    "a secret does not belong into a document; put it into a file and name that as value_file");
  check_file(header.value_file(), path + ".value_file", mistakes);
}

}  // namespace

std::vector<Mistake> mistakes_of(const v1::Webhook& webhook) {
  Mistakes mistakes;
  mistakes.require(webhook.api_version() == "freshet/v1", "api_version",
                   "'" + webhook.api_version() + "' is not known; use freshet/v1");
  mistakes.require(webhook.kind() == "Webhook", "kind", "'" + webhook.kind() + "' is not Webhook");
  mistakes.name(webhook.metadata().name(), "metadata.name");
  mistakes.name(webhook.metadata().project(), "metadata.project");
  const v1::WebhookSpec& spec = webhook.spec();
  const bool is_web = spec.url().starts_with("http://") || spec.url().starts_with("https://");
  mistakes.require(is_web && is_visible(spec.url()) && spec.url().find(' ') == std::string::npos, "spec.url",
                   "'" + spec.url() + "' is no web address; write it like https://example.org/hook");
  mistakes.require(spec.url().find('@') == std::string::npos, "spec.url",
                   "a user name and a password do not belong into it; use headers with a value_file");
  for (int i = 0; i < spec.events_size(); ++i) {
    const auto& known = event_types();
    mistakes.require(std::find(known.begin(), known.end(), spec.events(i)) != known.end(), at("spec.events", i),
                     "'" + spec.events(i) + "' is no event; use one of " + listed(known));
  }
  for (int i = 0; i < spec.pipelines_size(); ++i) mistakes.name(spec.pipelines(i), at("spec.pipelines", i));
  for (int i = 0; i < spec.headers_size(); ++i) {
    check_header_field(spec.headers(i), at("spec.headers", i), &mistakes);
  }
  check_file(spec.secret_file(), "spec.secret_file", &mistakes);
  check_file(spec.ca_file(), "spec.ca_file", &mistakes);
  mistakes.range(uint64_t{spec.timeout_ms()}, 100, 60'000, "spec.timeout_ms");
  mistakes.range(uint64_t{spec.max_attempts()}, 1, 100, "spec.max_attempts");
  mistakes.range(uint64_t{spec.max_age_s()}, 1, 30 * 86'400, "spec.max_age_s");
  mistakes.range(uint64_t{spec.retry_ms()}, 10, 3'600'000, "spec.retry_ms");
  return mistakes.take();
}

}  // namespace freshet
