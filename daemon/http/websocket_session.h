// WebSocketSession: one connection of an agent, as the daemon's control sees it, and WebSocketListener, which hears it.
// Sessions are made by the HTTP server. send() and close() from any thread, never blocking. The listener is called on
// the worker pool, one call at a time for a session and in order: on_open, on_message ..., on_close.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "daemon/http/principal.h"

namespace freshet::http {

class WebSocketSession {
 public:
  virtual ~WebSocketSession() = default;
  // Unique in this process.
  virtual uint64_t id() const = 0;
  virtual const Principal& principal() const = 0;
  // Queues one binary frame. false: it is gone, or its queue is full, which closes it (an agent that does not read).
  virtual bool send(std::string frame) = 0;
  // Sends what is queued, then a close frame with the reason (cut at 120 bytes). Idempotent.
  virtual void close(const std::string& reason) = 0;
};

class WebSocketListener {
 public:
  virtual ~WebSocketListener() = default;
  virtual void on_open(std::shared_ptr<WebSocketSession> session) = 0;
  // The next message is not read before this returns.
  virtual void on_message(WebSocketSession& session, std::string bytes) = 0;
  // Once, last, also when the server stops.
  virtual void on_close(WebSocketSession& session, const Status& reason) = 0;
};

}  // namespace freshet::http
