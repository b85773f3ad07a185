// Every key of the store, built in one place. A key is a kind, then its parts, separated by '/'; each part is
// percent-encoded, so a URI or an odd name can't break out of its place, and numbers are 20 digits, so byte order is
// numeric order. A name in the plural is the prefix of a listing and ends in '/'. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"
#include "proto/attempt.pb.h"

namespace freshet::keys {

// Bytes other than letters, digits, '-', '.', '_' and '~' become %XX; unescape is its inverse for what escape made.
std::string escape(std::string_view part);
std::string unescape(std::string_view part);
// The last part of a key, unescaped: the id in "run/default/4f..".
std::string last_part(std::string_view key);

// ---- what an operator applied ----
std::string pipelines();  // PipelineRecord, current
std::string pipelines(std::string_view project);
std::string pipeline(std::string_view project, std::string_view name);
std::string pipeline_versions(std::string_view project, std::string_view name);  // PipelineRecord
std::string pipeline_version(std::string_view project, std::string_view name, uint64_t version);
std::string pipeline_codes();  // PipelineCode
std::string pipeline_code(std::string_view project, std::string_view name);
std::string sources();  // SourceRecord
std::string sources(std::string_view project);
std::string source(std::string_view project, std::string_view name);
std::string source_status(std::string_view project, std::string_view name);  // SourceStatus
std::string triggers();                                                      // TriggerRecord
std::string triggers(std::string_view project);
std::string trigger(std::string_view project, std::string_view name);
std::string trigger_state(std::string_view project, std::string_view name);  // TriggerState

// ---- data ----
std::string datasets(std::string_view project);  // DatasetVersion
std::string dataset(std::string_view project, std::string_view digest);
std::string entries(std::string_view project, std::string_view pipeline, std::string_view input);  // EntryRecord
std::string entries_of_uri(std::string_view project, std::string_view pipeline, std::string_view input,
                           std::string_view uri);
std::string entry(std::string_view project, std::string_view pipeline, std::string_view input, std::string_view uri,
                  std::string_view sha256);
std::string entry_counter(std::string_view project, std::string_view pipeline, std::string_view input);  // Counter
std::string inspections(std::string_view project);                                                       // Inspection
std::string inspection(std::string_view project, std::string_view id);
std::string pending_inspections();  // reference to inspection
std::string pending_inspection(std::string_view project, std::string_view id);

// ---- runs ----
std::string runs(std::string_view project);  // Run
std::string run(std::string_view project, std::string_view id);
// References to runs, ascending by creation time: list in reverse for the newest first.
std::string runs_by_time(std::string_view project);
std::string run_by_time(std::string_view project, Time created, std::string_view id);
std::string runs_by_pipeline(std::string_view project, std::string_view pipeline);
std::string run_by_pipeline(std::string_view project, std::string_view pipeline, Time created, std::string_view id);
// The same, of the runs in one state ("QUEUED").
std::string runs_by_state();
std::string runs_by_state(std::string_view project, std::string_view state);
std::string run_by_state(std::string_view project, std::string_view state, Time created, std::string_view id);
std::string runs_by_pipeline_state(std::string_view project, std::string_view pipeline, std::string_view state);
std::string run_by_pipeline_state(std::string_view project, std::string_view pipeline, std::string_view state,
                                  Time created, std::string_view id);
// References to the runs that the run loop looks at.
std::string due_runs();
std::string due_run(std::string_view project, std::string_view id);
// References to the runs of steps that wait for a place: a lane for each number of slots, and in a lane the order in
// which they are served.
std::string ready_steps();
std::string ready_steps(uint32_t slots);
std::string ready_step(uint32_t slots, int32_t priority, Time ready, std::string_view project, std::string_view run_id,
                       std::string_view step);
struct ReadyStep {
  uint32_t slots = 0;
  int32_t priority = 0;
  Time ready;
  std::string step;
};
ReadyStep parse_ready_step(std::string_view key);
uint32_t slots_of_lane(std::string_view prefix);  // of ready_steps(slots)

// The parts that name a piece of work: "PROJECT/run/ID/STEP" or "PROJECT/inspection/ID". Also the scheduler's key.
std::string work(const v1::WorkRef& work);
std::string attempts(const v1::WorkRef& work);  // Attempt, by epoch
std::string attempt(const v1::WorkRef& work, uint64_t epoch);
std::string attempts_of_run(std::string_view project, std::string_view run_id);  // of all its steps
std::string attempt_spec(const v1::WorkRef& work, uint64_t epoch);               // AttemptSpec
// References to the attempts that have not ended.
std::string active_attempts();
std::string active_attempt(const v1::WorkRef& work, uint64_t epoch);

// MetricHistory: chunks of a run's points in the order in which they came; the newest value of each metric.
std::string metric_chunks(std::string_view project, std::string_view run_id);
std::string metric_chunk(std::string_view project, std::string_view run_id, uint64_t sequence);
std::string latest_metrics(std::string_view project, std::string_view run_id);

// ---- cluster ----
std::string nodes();  // NodeRecord
std::string node(std::string_view name);
std::string gangs();  // reference to attempt
std::string gang(std::string_view gang_id);
std::string journal_position(std::string_view gang_id);  // Counter: last applied by a change of the attempt
std::string metrics_position(std::string_view gang_id);  // Counter: last applied by metrics alone

// ---- registry ----
std::string artifacts();  // ArtifactRecord
std::string artifact(std::string_view digest);
std::string artifact_use(std::string_view digest);        // ArtifactUse: the newest reference to it
std::string collected_artifact(std::string_view digest);  // ArtifactRecord of bytes that are gone
std::string gc_round();                                   // GcRoundRecord
std::string models();                                     // Model
std::string models(std::string_view project);
std::string model(std::string_view project, std::string_view name);
std::string model_versions(std::string_view project, std::string_view model);  // ModelVersion
std::string model_version(std::string_view project, std::string_view model, uint64_t version);
std::string aliases(std::string_view project, std::string_view model);  // Alias
std::string alias(std::string_view project, std::string_view model, std::string_view alias);
// AliasMove. With the alias' precondition in the same change, Snapshot::revision() + 1 is a number that grows from
// move to move.
std::string alias_moves(std::string_view project, std::string_view model);
std::string alias_moves(std::string_view project, std::string_view model, std::string_view alias);
std::string alias_move(std::string_view project, std::string_view model, std::string_view alias, uint64_t revision);

// ---- events to others ----
std::string outbox();  // Event, in the order of the commits
std::string outbox_event(uint64_t revision, uint64_t index);
std::string webhooks();  // WebhookRecord
std::string webhooks(std::string_view project);
std::string webhook(std::string_view project, std::string_view name);
std::string webhook_state(std::string_view project, std::string_view name);  // WebhookState
// DeadLetter, by webhook and then in the order of the commits.
std::string dead_letters(std::string_view project);
std::string dead_letters(std::string_view project, std::string_view webhook);
std::string dead_letter(std::string_view project, std::string_view webhook, std::string_view event_key);
// References to the dead letters that somebody wants to have delivered once more.
std::string redeliveries(std::string_view project, std::string_view webhook);
std::string redelivery(std::string_view project, std::string_view webhook, std::string_view event_key);

// ---- the daemon itself ----
std::string kept_answer(std::string_view actor, std::string_view idempotency_key);  // KeptAnswer
// References to kept answers, the oldest first.
std::string answers_by_time();
std::string answer_by_time(Time answered, std::string_view actor, std::string_view idempotency_key);
std::string counter(std::string_view name);  // Counter
std::string daemon_term();                   // DaemonTerm

// ---- written by the writer alone ----
std::string audits();                  // AuditRecord
std::string audit(uint64_t revision);  // 16 hex digits
std::string last_commit();             // LastCommit
// Counter: how many keys there are under a prefix that is counted; none: no such key.
std::string count(std::string_view prefix);
// The prefix under which this key is counted; empty: it is not.
std::string_view counted_prefix(std::string_view key);
// Whether only the writer may write this key.
bool is_reserved(std::string_view key);

}  // namespace freshet::keys
