#include "tests/sim/sim_world.h"

#include "daemon/control/attempt_reconciler.h"
#include "daemon/control/catalog.h"
#include "daemon/control/placement_reconciler.h"
#include "daemon/control/run_reconciler.h"
#include "daemon/control/trigger_reconciler.h"
#include "daemon/store/audit.h"
#include "daemon/store/keys.h"
#include "daemon/store/tables.h"

namespace freshet::sim {
namespace {

class NoLogs final : public control::LogReader {
 public:
  Result<std::string> read(const std::string&, const std::string&, uint64_t) const override {
    return not_found("simulated gangs print nothing");
  }
};

}  // namespace

// Delivers frames to the agents after a delay; one session's frames stay in order.
class SimWorld::Link final : public control::AgentLink {
 public:
  explicit Link(SimWorld& world) : world_(world) {}

  bool send(const std::string& node, const v1::DaemonFrame& frame) override {
    auto found = sessions.find(node);
    if (found == sessions.end()) return false;
    SimAgent* agent = world_.agents_.at(node).get();
    world_.at(Duration::micros(100), "frame to " + node,
              [agent, session = found->second, frame] { agent->on_frame(session, frame); });
    return true;
  }
  bool connected(const std::string& node) const override { return sessions.contains(node); }

  std::map<std::string, uint64_t> sessions;

 private:
  SimWorld& world_;
};

struct SimWorld::Daemon {
  Daemon(SimWorld& world, uint64_t term)
      : link(world),
        context{world.writer_,
                world.clock_,
                world.random_,
                world.sources_,
                world.artifacts_,
                link,
                [&world] { world.wake_reconcilers(); },
                term,
                "sim"},
        agents(context),
        pipelines(context),
        runs(context, logs),
        models(context),
        data(context),
        system(context),
        artifacts(context),
        catalog(context),
        triggers(context),
        run_loop(context),
        placement(context),
        attempts(context, agents),
        reconcilers{&catalog, &triggers, &run_loop, &placement, &attempts},
        scheduled(reconcilers.size()) {
    api::Services services{
        pipelines, runs, models, data, system, artifacts, [] { return std::string(); }, [] { return Status::ok(); }};
    api::add_pipeline_routes(router, services);
    api::add_run_routes(router, services);
    api::add_model_routes(router, services);
    api::add_data_routes(router, services);
    api::add_artifact_routes(router, services);
    api::add_system_routes(router, services);
  }

  Link link;
  NoLogs logs;
  control::Context context;
  control::AgentService agents;
  control::PipelineService pipelines;
  control::RunService runs;
  control::ModelService models;
  control::DataService data;
  control::SystemService system;
  control::ArtifactService artifacts;
  control::CatalogReconciler catalog;
  control::TriggerReconciler triggers;
  control::RunReconciler run_loop;
  control::PlacementReconciler placement;
  control::AttemptReconciler attempts;
  std::vector<control::Reconciler*> reconcilers;
  std::vector<uint64_t> scheduled;  // the event that will run each one; 0: none
  http::Router router;
};

SimWorld::SimWorld(uint64_t seed) : random_(seed), token_(http::new_token("admin", random_)) {
  authenticator_.add_token("admin", token_, http::PermissionSet::all());
  sources_.set_wake([this] { wake_reconcilers(); });
}

SimWorld::~SimWorld() = default;

void SimWorld::note(const std::string& line) { log_ += std::to_string(clock_.monotonic().us) + " " + line + "\n"; }

void SimWorld::at(Duration after, std::string what, std::function<void()> action) {
  // Frames must not overtake each other, so a tie is broken by the order of scheduling.
  events_[{clock_.monotonic().us + after.us, next_event_++}] = {std::move(what), std::move(action)};
}

bool SimWorld::run_until(const std::function<bool()>& done, Duration limit) {
  const int64_t end = clock_.monotonic().us + limit.us;
  while (!done()) {
    if (events_.empty() || events_.begin()->first.first > end) return false;
    auto node = events_.extract(events_.begin());
    clock_.advance_to(Time{node.key().first});
    note(node.mapped().what);
    node.mapped().action();
  }
  return true;
}

void SimWorld::start_daemon() {
  Change change;
  change.actor = "freshetd";
  change.action = "start";
  auto stored = get<v1::DaemonTerm>(*writer_.snapshot(), keys::daemon_term());
  CHECK(stored.is_ok());
  v1::DaemonTerm term;
  if (*stored) term = (*stored)->value;
  term.set_term(term.term() + 1);
  put(change, keys::daemon_term(), term);
  CHECK(writer_.commit(std::move(change)).is_ok());
  daemon_ = std::make_unique<Daemon>(*this, term.term());
  note("daemon starts, term " + std::to_string(term.term()));
  wake_reconcilers();
}

void SimWorld::crash_daemon() {
  note("daemon crashes");
  auto sessions = daemon_->link.sessions;
  daemon_.reset();
  for (const auto& [node, session] : sessions) {
    SimAgent* agent = agents_.at(node).get();
    at(Duration::millis(1), node + " loses its session", [agent, session] { agent->on_closed(session); });
  }
}

void SimWorld::wake_reconcilers() {
  if (daemon_ == nullptr) return;
  for (size_t i = 0; i < daemon_->reconcilers.size(); ++i) {
    schedule_reconcile(i, Duration::micros(static_cast<int64_t>(50 + draw(2000))));
  }
}

void SimWorld::schedule_reconcile(size_t index, Duration after) {
  if (daemon_->scheduled[index] != 0) return;
  const uint64_t event = next_event_;
  daemon_->scheduled[index] = event;
  at(after, "reconcile " + std::string(daemon_->reconcilers[index]->name()), [this, index, event] {
    // A daemon that started since has other events.
    if (daemon_ == nullptr || daemon_->scheduled[index] != event) return;
    daemon_->scheduled[index] = 0;
    Time wake = daemon_->reconcilers[index]->reconcile(clock_.now());
    if (wake == Time::never()) return;
    Duration wait = wake - clock_.now();
    at(std::max(wait, Duration::millis(1)), "timer", [this] { wake_reconcilers(); });
  });
}

SimAgent& SimWorld::add_agent(const std::string& node, uint32_t slots) {
  auto& agent = agents_[node];
  agent = std::make_unique<SimAgent>(*this, node, slots);
  at(Duration::millis(static_cast<int64_t>(draw(50))), node + " starts", [agent = agent.get()] { agent->connect(); });
  return *agent;
}

uint64_t SimWorld::open_session(const std::string& node) {
  if (daemon_ == nullptr) return 0;
  return daemon_->link.sessions[node] = next_session_++;
}

void SimWorld::to_daemon(const std::string& node, uint64_t session, const v1::AgentFrame& frame) {
  at(Duration::micros(100), "frame from " + node, [this, node, session, frame] {
    if (daemon_ == nullptr) return;
    auto found = daemon_->link.sessions.find(node);
    if (found == daemon_->link.sessions.end() || found->second != session) return;
    std::string name = frame.has_hello() ? "" : node;
    auto replies = daemon_->agents.on_frame(&name, frame);
    if (!replies.is_ok()) {
      note("session of " + node + " ends: " + replies.status().message());
      daemon_->link.sessions.erase(node);
      agents_.at(node)->on_closed(session);
      return;
    }
    for (const auto& reply : *replies) daemon_->link.send(node, reply);
  });
}

Result<std::string> SimWorld::call(const std::string& method, const std::string& path, const std::string& body,
                                   std::map<std::string, std::string> query) {
  if (daemon_ == nullptr) return unavailable("the daemon is down");
  ASSIGN_OR_RETURN(auto principal, authenticator_.authenticate("Bearer " + token_, "sim"));
  ASSIGN_OR_RETURN(auto match, daemon_->router.match(method, path));
  if (match.route == nullptr) return not_found("no route " + method + " " + path);
  CHECK(principal.may(match.route->permission));
  http::Request request;
  request.method = method;
  request.path = path;
  request.params = match.params;
  request.query = std::move(query);
  request.body = body;
  if (match.route->upload) {
    request.body_size = body.size();
    ASSIGN_OR_RETURN(auto sink, match.route->upload(principal, request));
    RETURN_IF_ERROR(sink->append(body));
    ASSIGN_OR_RETURN(auto response, sink->finish());
    return std::move(response.body);
  }
  ASSIGN_OR_RETURN(auto response, match.route->handler(principal, request));
  return std::move(response.body);
}

std::string SimWorld::broken_invariant() const {
  auto snapshot = writer_.snapshot();
  for (const auto& [node, agent] : agents_) {
    if (agent->slots_in_use() > agent->slots()) return "I6: node " + node + " runs more than its slots";
    if (!agent->doubly_running().empty()) return "I3: two live epochs of " + agent->doubly_running();
    for (const auto& [work, count] : agent->launches()) {
      if (count > 1) return "I3: " + work + " was started " + std::to_string(count) + " times";
    }
  }
  auto models = list<v1::Model>(*snapshot, keys::models("default"));
  if (!models.is_ok()) return models.status().to_string();
  for (const auto& model : *models) {
    auto versions = list<v1::ModelVersion>(*snapshot, keys::model_versions("default", model.value.name()));
    if (!versions.is_ok()) return versions.status().to_string();
    for (size_t i = 0; i < versions->size(); ++i) {
      if ((*versions)[i].value.version() != i + 1) return "I8: versions of " + model.value.name() + " are not dense";
      if (!artifacts_.exists((*versions)[i].value.artifact_digest())) return "I7: a version's artifact is missing";
    }
    auto aliases = list<v1::Alias>(*snapshot, keys::aliases("default", model.value.name()));
    if (!aliases.is_ok()) return aliases.status().to_string();
    for (const auto& alias : *aliases) {
      if (alias.value.version() == 0 || alias.value.version() > versions->size()) return "I7: an alias points nowhere";
      if (!(*versions)[alias.value.version() - 1].value.verdict().passed()) return "I7: the alias' version was refused";
    }
  }
  Status audit = verify_audit(*snapshot);
  return audit.is_ok() ? "" : "I11: " + audit.message();
}

}  // namespace freshet::sim
