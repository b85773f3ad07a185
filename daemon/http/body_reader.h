// BodyReader: decodes one request's body (Content-Length or chunked) with Beast's parser, piece by piece. Private to
// the server; one thread. The head has passed the gate before, so what decides is known already; Beast reads the
// framing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/header_gate.h"

namespace freshet::http {

class BodyReader {
 public:
  // `head` are the header's bytes.
  BodyReader(std::string_view head, uint64_t body_bytes_max);
  ~BodyReader();

  // Takes what it can from the front of `input` and appends what it decoded to `decoded`. Give it the rest again with
  // more behind it. A refusal ends the connection.
  std::optional<GateRefusal> feed(std::string* input, std::string* decoded);

  bool is_done() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace freshet::http
