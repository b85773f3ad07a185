#include "daemon/webhooks/http_webhook_sender.h"

#include <sys/stat.h>

#include <utility>

#include "base/file.h"
#include "base/hmac.h"
#include "net/outbound.h"

namespace freshet {
namespace {

constexpr size_t kThreads = 8;
constexpr size_t kQueueMax = 1024;

// What a file of mode 0600 says, without the line end.
Result<std::string> read_secret(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return errno_status("read secret " + path, errno);
  if ((status.st_mode & 077) != 0) {
    return permission_denied("others can read the secret " + path + "; chmod 600 it");
  }
  ASSIGN_OR_RETURN(std::string secret, read_file(path));
  while (secret.ends_with('\n') || secret.ends_with('\r')) secret.pop_back();
  if (secret.empty()) return invalid_argument("the secret " + path + " is empty");
  return secret;
}

Result<net::OutboundRequest> request_of(const control::WebhookDelivery& delivery) {
  net::OutboundRequest request;
  request.url = delivery.spec.url();
  request.body = delivery.body;
  request.timeout = Duration::millis(delivery.spec.timeout_ms());
  request.ca_file = delivery.spec.ca_file();
  for (const auto& header : delivery.spec.headers()) {
    std::string value = header.value();
    if (!header.value_file().empty()) {
      ASSIGN_OR_RETURN(value, read_secret(header.value_file()));
    }
    request.headers.push_back({header.name(), std::move(value)});
  }
  request.headers.push_back({"Content-Type", "application/cloudevents+json; charset=utf-8"});
  request.headers.push_back({"X-Freshet-Event", delivery.event_type});
  request.headers.push_back({"X-Freshet-Delivery", delivery.event_id});
  if (!delivery.spec.secret_file().empty()) {
    ASSIGN_OR_RETURN(std::string secret, read_secret(delivery.spec.secret_file()));
    request.headers.push_back({"X-Hub-Signature-256", "sha256=" + hmac_sha256_hex(secret, delivery.body)});
  }
  return request;
}

}  // namespace

HttpWebhookSender::HttpWebhookSender(net::AddressPolicy policy, const Clock& clock, std::function<void()> wake)
    : policy_(std::move(policy)), clock_(clock), wake_(std::move(wake)), pool_("webhooks", kThreads, kQueueMax) {}

HttpWebhookSender::~HttpWebhookSender() { stop(); }

void HttpWebhookSender::stop() {
  is_stopped_ = true;
  pool_.stop();
}

void HttpWebhookSender::send(control::WebhookDelivery delivery) {
  const uint64_t ticket = delivery.ticket;
  Status queued = pool_.submit([this, delivery = std::move(delivery)] { attempt(delivery); });
  if (!queued.is_ok()) finish({ticket, 0, queued.message(), Duration()});
}

void HttpWebhookSender::attempt(const control::WebhookDelivery& delivery) {
  const Time begin = clock_.monotonic();
  control::WebhookOutcome outcome;
  outcome.ticket = delivery.ticket;
  auto request = request_of(delivery);
  if (request.is_ok()) request->is_cancelled = &is_stopped_;
  Result<int> status = request.is_ok() ? net::post_outbound(*request, policy_) : Result<int>(request.status());
  if (!status.is_ok()) {
    outcome.error = status.status().message();
  } else {
    outcome.status = *status;
    // A redirect is an answer like any other: nobody allowed the address that it names.
    if (*status < 200 || *status > 299) outcome.error = "it answered with HTTP status " + std::to_string(*status);
  }
  outcome.took = clock_.monotonic() - begin;
  finish(std::move(outcome));
}

void HttpWebhookSender::finish(control::WebhookOutcome outcome) {
  {
    std::lock_guard lock(mutex_);
    outcomes_.push_back(std::move(outcome));
  }
  wake_();
}

std::vector<control::WebhookOutcome> HttpWebhookSender::take_outcomes() {
  std::lock_guard lock(mutex_);
  return std::exchange(outcomes_, {});
}

}  // namespace freshet
