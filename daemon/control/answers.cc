#include "daemon/control/answers.h"

#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet::control {

Result<bool> find_answer(const Snapshot& snapshot, const Caller& caller, google::protobuf::Message* answer) {
  const std::string key = keys::kept_answer(caller.name, caller.key);
  ASSIGN_OR_RETURN(auto kept, get<v1::KeptAnswer>(snapshot, key));
  if (!kept) return false;
  if (kept->value.request_digest() != caller.request_digest) {
    return conflict("the idempotency key '" + caller.key +
                    "' was used for another request; repeat that request as it was, or use a new key");
  }
  RETURN_IF_ERROR(parse(key, kept->value.answer(), *answer));
  return true;
}

Status commit_answered(Context& context, Change change, const Caller& caller, const google::protobuf::Message& answer) {
  change.actor = caller.name;
  if (!caller.key.empty()) {
    if (change.writes.empty() && change.events.empty()) change.action = "answer without a change";
    v1::KeptAnswer kept;
    kept.set_request_digest(caller.request_digest);
    kept.set_answer(serialize(answer));
    const Time now = context.clock.now();
    kept.set_answered_us(now.us);
    const std::string key = keys::kept_answer(caller.name, caller.key);
    create(change, key, kept);
    put_reference(change, keys::answer_by_time(now, caller.name, caller.key), key);
  }
  if (change.writes.empty() && change.events.empty()) return Status::ok();
  return context.commit(std::move(change)).status();
}

}  // namespace freshet::control
