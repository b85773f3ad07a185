#include "daemon/store/audit.h"

#include <charconv>
#include <functional>

#include "base/sha256.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"
#include "proto/record.pb.h"

namespace freshet {
namespace {

constexpr size_t kPage = 1000;

// Calls `visit` with each audit record in order.
Status for_each_audit(const Snapshot& snapshot, const std::function<void(const v1::AuditRecord&)>& visit) {
  std::string after;
  for (;;) {
    ASSIGN_OR_RETURN(std::vector<Record<v1::AuditRecord>> page,
                     list<v1::AuditRecord>(snapshot, keys::audits(), after, kPage));
    if (page.empty()) return Status::ok();
    for (const Record<v1::AuditRecord>& record : page) visit(record.value);
    after = page.back().key;
  }
}

// 0 for a key that no audit record has.
Revision revision_of(const std::string& key) {
  Revision revision = 0;
  const char* begin = key.data() + std::min(keys::audits().size(), key.size());
  std::from_chars(begin, key.data() + key.size(), revision, 16);
  return keys::audit(revision) == key ? revision : 0;
}

Result<v1::LastCommit> last_commit(const Snapshot& snapshot) {
  ASSIGN_OR_RETURN(auto stored, get<v1::LastCommit>(snapshot, keys::last_commit()));
  return stored ? std::move(stored->value) : v1::LastCommit();
}

// One page of the log on its way through the checks.
class Check {
 public:
  Check(const Snapshot& snapshot, const AuditPosition& from, const std::vector<v1::AuditHead>& heads)
      : snapshot_(snapshot), heads_(heads) {
    page_.position = from;
  }

  Result<AuditPage> run(size_t limit) {
    ASSIGN_OR_RETURN(std::vector<KeyValue> items, read(limit));
    for (const KeyValue& item : items) {
      if (page_.problem) return page_;
      RETURN_IF_ERROR(look_at(item));
    }
    if (!page_.problem && unreadable_) {
      add_problem(v1::AuditProblem::CHANGED, *unreadable_, "was changed and can't be read any more");
    }
    if (!page_.problem && items.size() < limit) RETURN_IF_ERROR(look_at_the_end());
    return page_;
  }

 private:
  // The next records. One whose envelope is damaged makes the whole listing fail: then those before it, and its
  // revision in unreadable_.
  Result<std::vector<KeyValue>> read(size_t limit) {
    std::string after = page_.position.revision == 0 ? "" : keys::audit(page_.position.revision);
    auto all = snapshot_.scan(keys::audits(), after, limit);
    if (all.is_ok() || all.status().code() != Code::kCorrupt) return all;
    std::vector<KeyValue> items;
    for (auto one = snapshot_.scan(keys::audits(), after, 1); one.is_ok() && !one->empty();
         one = snapshot_.scan(keys::audits(), after, 1)) {
      after = one->front().key;
      items.push_back(std::move(one->front()));
    }
    const Revision good = items.empty() ? page_.position.revision : revision_of(items.back().key);
    for (Revision next = good + 1; next <= snapshot_.revision(); ++next) {
      if (snapshot_.get(keys::audit(next)).status().code() != Code::kCorrupt) continue;
      unreadable_ = next;
      return items;
    }
    return all;
  }

  Status look_at(const KeyValue& item) {
    const Revision revision = revision_of(item.key);
    const std::string& bytes = item.value.payload;
    v1::AuditRecord record;
    if (!parse(item.key, bytes, record).is_ok()) {
      add_problem(v1::AuditProblem::CHANGED, revision, "was changed and can't be read any more");
      return Status::ok();
    }
    if (record.revision() != revision && record.revision() == item.value.revision) {
      add_problem(v1::AuditProblem::MISPLACED, revision,
                  "is not in its place: the one of revision " + std::to_string(record.revision()) + " lies there");
      return Status::ok();
    }
    if (record.revision() != revision || item.value.revision != revision ||
        item.value.commit_time.us != record.commit_us()) {
      add_problem(v1::AuditProblem::CHANGED, revision, "was changed: its number or time is another");
      return Status::ok();
    }
    const std::string digest = Sha256::hex_of(bytes);
    if (record.previous_digest() != page_.position.digest) return name_broken_link(record, digest);
    if (!holds_heads(revision, digest)) return Status::ok();
    page_.position = {revision, digest};
    ++page_.checked;
    return Status::ok();
  }

  // `record` does not follow the one before it. Which of them is at fault?
  Status name_broken_link(const v1::AuditRecord& record, const std::string& digest) {
    const Revision before = page_.position.revision;
    const Revision expected = record.previous_revision();
    ASSIGN_OR_RETURN(bool is_denied, is_denied_by_next(record.revision(), digest));
    ASSIGN_OR_RETURN(v1::LastCommit last, last_commit(snapshot_));
    if (last.audit_revision() != 0 && record.revision() > last.audit_revision()) {
      // It was there before the log grew up to it.
      add_problem(v1::AuditProblem::EXTRA, record.revision(),
                  "was added: the newest is of revision " + std::to_string(last.audit_revision()));
    } else if (is_denied || expected >= record.revision() || (before == 0 && expected == 0)) {
      add_problem(v1::AuditProblem::CHANGED, record.revision(), "was changed");
    } else if (expected > before) {
      add_problem(v1::AuditProblem::MISSING, expected,
                  before == 0 ? "is missing, and all before it, if there were any"
                              : "is missing, and all that were between it and revision " + std::to_string(before));
    } else if (expected == before) {
      add_problem(v1::AuditProblem::CHANGED, before, "was changed");
    } else {
      add_problem(
          v1::AuditProblem::CHANGED, before,
          "was changed or added, or one between it and revision " + std::to_string(record.revision()) + " is missing");
    }
    return Status::ok();
  }

  // Whether the record after it, or at the end the writer's, has noted another digest for this one.
  Result<bool> is_denied_by_next(Revision revision, const std::string& digest) const {
    auto next = list<v1::AuditRecord>(snapshot_, keys::audits(), keys::audit(revision), 1);
    if (!next.is_ok()) return false;
    if (!next->empty()) {
      const v1::AuditRecord& record = next->front().value;
      return record.previous_revision() == revision && record.previous_digest() != digest;
    }
    ASSIGN_OR_RETURN(v1::LastCommit last, last_commit(snapshot_));
    return last.audit_revision() == revision && last.audit_digest() != digest;
  }

  // The heads from behind the position up to `revision`.
  bool holds_heads(Revision revision, const std::string& digest) {
    for (const v1::AuditHead& head : heads_) {
      if (head.revision() <= page_.position.revision || head.revision() > revision) continue;
      if (head.revision() == revision && head.digest() == digest) continue;
      Revision held = 0;
      for (const v1::AuditHead& other : heads_) {
        if (other.revision() < head.revision()) held = std::max(held, other.revision());
      }
      add_problem(v1::AuditProblem::REWRITTEN, head.revision(),
                  "is not the one of the kept head: the log was written anew from a record behind revision " +
                      std::to_string(held) + " on",
                  held);
      return false;
    }
    return true;
  }

  Status look_at_the_end() {
    ASSIGN_OR_RETURN(v1::LastCommit last, last_commit(snapshot_));
    const Revision newest = page_.position.revision;
    if (last.audit_digest() != page_.position.digest) {
      if (last.audit_revision() > newest || newest == 0) {
        add_problem(v1::AuditProblem::CUT_OFF, last.audit_revision(),
                    "is missing: the log was cut off behind revision " + std::to_string(newest));
      } else if (last.audit_revision() == newest) {
        add_problem(v1::AuditProblem::CHANGED, newest, "was changed");
      } else if (last.audit_revision() != 0) {
        add_problem(v1::AuditProblem::EXTRA, newest,
                    "was added: the newest is of revision " + std::to_string(last.audit_revision()));
      } else {
        add_problem(v1::AuditProblem::CUT_OFF, newest, "was changed, or those behind it were cut off");
      }
      return Status::ok();
    }
    for (const v1::AuditHead& head : heads_) {
      if (head.revision() <= newest) continue;
      add_problem(v1::AuditProblem::CUT_OFF, head.revision(),
                  "is missing: a head of it was kept, and the log ends with revision " + std::to_string(newest));
      return Status::ok();
    }
    page_.is_done = true;
    return Status::ok();
  }

  void add_problem(v1::AuditProblem::Kind kind, Revision revision, const std::string& what,
                   std::optional<Revision> good = std::nullopt) {
    v1::AuditProblem& problem = page_.problem.emplace();
    problem.set_kind(kind);
    problem.set_revision(revision);
    problem.set_good_revision(
        good.value_or(revision > page_.position.revision ? page_.position.revision : revision - 1));
    std::string who;
    // What it says of itself, where there is something to read.
    if (auto found = get<v1::AuditRecord>(snapshot_, keys::audit(revision)); found.is_ok() && *found) {
      const v1::AuditRecord& record = (*found)->value;
      problem.set_commit_us((*found)->commit_time.us);
      problem.set_actor(record.actor());
      problem.set_action(record.action());
      who = " (" + to_iso8601((*found)->commit_time) + ", " + record.actor() + ", " + record.action() + ")";
    }
    problem.set_message("the audit record of revision " + std::to_string(revision) + who + " " + what);
  }

  const Snapshot& snapshot_;
  const std::vector<v1::AuditHead>& heads_;
  AuditPage page_;
  std::optional<Revision> unreadable_;
};

}  // namespace

Result<v1::AuditHead> audit_head(const Snapshot& snapshot) {
  v1::AuditHead head;
  ASSIGN_OR_RETURN(auto newest, snapshot.scan(keys::audits(), {}, 1, true));
  if (newest.empty()) return head;
  head.set_revision(newest.front().value.revision);
  head.set_digest(Sha256::hex_of(newest.front().value.payload));
  head.set_commit_us(newest.front().value.commit_time.us);
  return head;
}

Result<AuditPage> check_audit(const Snapshot& snapshot, const AuditPosition& from, size_t limit,
                              const std::vector<v1::AuditHead>& heads) {
  return Check(snapshot, from, heads).run(limit);
}

Status verify_audit(const Snapshot& snapshot, const std::vector<v1::AuditHead>& heads) {
  for (AuditPosition position;;) {
    ASSIGN_OR_RETURN(AuditPage page, check_audit(snapshot, position, kPage, heads));
    if (page.problem) return corrupt(page.problem->message());
    if (page.is_done) return Status::ok();
    position = page.position;
  }
}

Result<std::map<std::string, StoredValue>> replay_audit(const Snapshot& snapshot) {
  std::map<std::string, StoredValue> state;
  RETURN_IF_ERROR(for_each_audit(snapshot, [&](const v1::AuditRecord& record) {
    for (const v1::ChangedRecord& changed : record.changes()) {
      if (changed.deleted()) {
        state.erase(changed.key());
      } else {
        state[changed.key()] = {changed.value(), record.revision(), Time{record.commit_us()}};
      }
    }
  }));
  return state;
}

}  // namespace freshet
