// One POST to an address that somebody else chose: a connection of its own, to an address that the policy allows, with
// TLS for https. Blocks the calling thread until the answer's header, or the deadline; any thread. No redirects, no
// cookies, no proxy, and what the answer says beyond its status is thrown away.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "net/address_policy.h"
#include "net/http_client.h"

namespace freshet::net {

struct OutboundRequest {
  std::string url;  // http://host/path or https://host/path
  std::vector<HttpHeader> headers;
  std::string body;
  Duration timeout = Duration::seconds(10);  // from the look-up of the name to the answer
  std::filesystem::path ca_file;             // of https: who signs the server's certificate; empty: the system's list
  const std::atomic<bool>* is_cancelled = nullptr;  // looked at now and then, by which the request ends early
};

// The status of the answer, 100 to 599. permission_denied: no address of the host is allowed. unavailable: nothing
// answers, or the certificate is not the host's. deadline, cancelled, invalid_argument: as they say.
Result<int> post_outbound(const OutboundRequest& request, const AddressPolicy& policy);

}  // namespace freshet::net
