// The answers to calls that changed something, kept under the caller's idempotency key in the same commit as the
// change. A call that is repeated because its answer was lost gets the first answer and changes nothing. A refused call
// changed nothing, so its answer is not kept. Kept for kAnswerKeep at least; AnswerReconciler removes them. Any thread.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "daemon/control/context.h"

namespace freshet::control {

constexpr Duration kAnswerKeep = Duration::seconds(7 * 86400);

// Who asks for a change, and under which key.
struct Caller {
  std::string name;                 // "admin"
  std::string key = {};             // empty: a repeated call is another call
  std::string request_digest = {};  // of what is asked: the key stands for this request and no other
};

// Fills `answer` and gives true when the caller's request has been answered before. conflict: its key was used for
// another request.
Result<bool> find_answer(const Snapshot& snapshot, const Caller& caller, google::protobuf::Message* answer);

// The one way in which a service commits what a caller asked for: with the answer that it will give. A change without
// writes keeps the answer alone. conflict also when the same request is being answered at the same time.
Status commit_answered(Context& context, Change change, const Caller& caller, const google::protobuf::Message& answer);

// The same for handlers: reads its own snapshot.
class AnswerService {
 public:
  explicit AnswerService(Context& context) : context_(context) {}

  Result<bool> find(const Caller& caller, google::protobuf::Message* answer) {
    if (caller.key.empty()) return false;
    return find_answer(*context_.store.snapshot(), caller, answer);
  }

 private:
  Context& context_;
};

}  // namespace freshet::control
