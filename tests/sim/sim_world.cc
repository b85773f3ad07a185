#include "tests/sim/sim_world.h"

#include "base/crash_point.h"
#include "daemon/api/agent_hub.h"
#include "daemon/control/answer_reconciler.h"
#include "daemon/control/attempt_reconciler.h"
#include "daemon/control/catalog.h"
#include "daemon/control/gc_reconciler.h"
#include "daemon/control/outbox_reconciler.h"
#include "daemon/control/placement_reconciler.h"
#include "daemon/control/run_reconciler.h"
#include "daemon/control/term.h"
#include "daemon/control/trigger_reconciler.h"
#include "daemon/control/watched_loop.h"
#include "daemon/store/read_set.h"
#include "tests/sim/sim_session.h"

namespace freshet::sim {
namespace {

constexpr uint64_t kYieldOdds = 12;
constexpr int kDepthMax = 3;
constexpr Duration kWebhookMax = Duration::millis(500);
constexpr Duration kYieldMax = Duration::millis(20);
// The loop's thread looks at the clock at least this often.
constexpr Duration kLoopWaitMax = Duration::seconds(1);

class NoLogs final : public control::LogReader {
 public:
  Result<std::string> read(const std::string&, const std::string&, uint64_t) const override {
    return not_found("simulated gangs print nothing");
  }
};

}  // namespace

// The daemon's store: other threads may get in between before each read and write, and after each write.
class SimWorld::YieldingStore final : public Store {
 public:
  explicit YieldingStore(SimWorld& world) : world_(world), writer_(world.disk_, world.clock_) {}

  void on_written(Writer::OnWritten heard) { writer_.on_written(std::move(heard)); }
  std::unique_ptr<Snapshot> snapshot() const override {
    world_.yield();
    return writer_.snapshot();
  }
  Result<Committed> commit(Change change) override {
    world_.yield();
    auto committed = writer_.commit(std::move(change));
    world_.yield();
    return committed;
  }

 private:
  SimWorld& world_;
  Writer writer_;
};

class SimWorld::YieldingLink final : public control::AgentLink {
 public:
  YieldingLink(SimWorld& world, api::AgentHub& hub) : world_(world), hub_(hub) {}

  bool send(const std::string& node, const v1::DaemonFrame& frame) override {
    world_.yield();
    return hub_.send(node, frame);
  }
  bool connected(const std::string& node) const override { return hub_.connected(node); }

 private:
  SimWorld& world_;
  api::AgentHub& hub_;
};

// Who webhooks tell: takes most of what it is sent, after a while, and remembers it.
class SimWorld::Receiver final : public control::WebhookSender {
 public:
  explicit Receiver(SimWorld& world) : world_(world) {}

  void send(control::WebhookDelivery delivery) override {
    world_.yield();
    const auto after = Duration::micros(static_cast<int64_t>(world_.draw(kWebhookMax.us)));
    const bool is_taken = world_.draw(4) != 0;
    world_.at(after, "a webhook is called",
              [&world = world_, weak = std::weak_ptr<Outcomes>(outcomes_), is_taken, id = delivery.event_id,
               is_watcher = delivery.spec.events().empty(), ticket = delivery.ticket, after] {
                if (is_taken && is_watcher) world.told_.insert(id);
                auto outcomes = weak.lock();
                if (outcomes == nullptr) return;  // who called is gone
                outcomes->push_back({ticket, is_taken ? 200 : 500, is_taken ? "" : "it answered 500", after});
                world.wake_reconciler("outbox");
              });
  }
  std::vector<control::WebhookOutcome> take_outcomes() override { return std::exchange(*outcomes_, {}); }

 private:
  using Outcomes = std::vector<control::WebhookOutcome>;
  SimWorld& world_;
  std::shared_ptr<Outcomes> outcomes_ = std::make_shared<Outcomes>();
};

struct SimWorld::Daemon {
  explicit Daemon(SimWorld& world)
      : store(world),
        link(world, hub),
        context{store,
                world.clock_,
                world.random_,
                world.sources_,
                world.artifacts_,
                link,
                [&world] { world.wake_reconcilers(); },
                0,
                "sim",
                world.options_.heartbeat_ms,
                world.options_.lease_ms,
                nullptr,
                [&world] { world.wake_changed(); }},
        agents(context),
        pipelines(context),
        runs(context, logs),
        models(context),
        data(context),
        system(context),
        artifacts(context),
        answer_service(context),
        webhooks(context),
        receiver(world),
        gc(context, world.options_.gc),
        catalog(context),
        triggers(context),
        run_loop(context),
        placement(context),
        attempts(context, agents),
        answers(context),
        outbox(context, receiver),
        gc_loop(context, world.options_.gc),
        loops({&catalog, &triggers, &run_loop, &placement, &attempts, &answers, &outbox, &gc_loop}),
        scheduled(loops.size()) {
    store.on_written([this](const auto& keys) { loops.on_written(keys); });
    hub.set_service(agents);
    api::Services services{pipelines,
                           runs,
                           models,
                           data,
                           system,
                           artifacts,
                           answer_service,
                           webhooks,
                           gc,
                           [] { return std::string(); },
                           [] { return Status::ok(); }};
    api::add_pipeline_routes(router, services);
    api::add_run_routes(router, services);
    api::add_model_routes(router, services);
    api::add_data_routes(router, services);
    api::add_artifact_routes(router, services);
    api::add_gc_routes(router, services);
    api::add_system_routes(router, services);
    api::add_webhook_routes(router, services);
  }

  YieldingStore store;
  api::AgentHub hub;
  YieldingLink link;
  NoLogs logs;
  control::Context context;
  control::AgentService agents;
  control::PipelineService pipelines;
  control::RunService runs;
  control::ModelService models;
  control::DataService data;
  control::SystemService system;
  control::ArtifactService artifacts;
  control::AnswerService answer_service;
  control::WebhookService webhooks;
  Receiver receiver;
  control::GcService gc;
  control::CatalogReconciler catalog;
  control::TriggerReconciler triggers;
  control::RunReconciler run_loop;
  control::PlacementReconciler placement;
  control::AttemptReconciler attempts;
  control::AnswerReconciler answers;
  control::OutboxReconciler outbox;
  control::GcReconciler gc_loop;
  control::WatchedLoops loops;
  struct Round {
    uint64_t event = 0;  // that will run it; 0: none
    Time due;            // monotonic
  };
  std::vector<Round> scheduled;
  http::Router router;
  bool serves = false;
};

SimWorld::SimWorld(uint64_t seed, SimOptions options)
    : options_(options),
      random_(seed),
      token_(http::new_token("admin", random_)),
      disk_(disk_faults_, [this](uint64_t bound) { return draw(bound); }),
      artifacts_(clock_, disk_faults_, [this](uint64_t bound) { return draw(bound); }),
      reader_(disk_.healthy(), clock_) {
  authenticator_.add_token("admin", token_, http::PermissionSet::all());
  auto principal = authenticator_.authenticate("Bearer " + token_, "sim");
  CHECK(principal.is_ok());
  admin_ = *principal;
  sources_.set_wake([this] { wake_reconcilers(); });
}

SimWorld::~SimWorld() {
  if (decide_crash_) set_crash_point_handler({});
}

void SimWorld::note(const std::string& line) {
  if (options_.trace) log_ += std::to_string(clock_.monotonic().us) + " " + line + "\n";
}

// ---- time ----

void SimWorld::at(Duration after, const char* what, std::function<void()> action) {
  schedule(after, what, kFree, std::move(action));
}

void SimWorld::schedule(Duration after, const char* what, uint32_t lane, std::function<void()> action) {
  // A tie is broken by the order of scheduling.
  events_[{clock_.monotonic().us + after.us, next_event_++}] = {what, lane, std::move(action)};
}

void SimWorld::step() {
  auto node = events_.extract(events_.begin());
  clock_.advance_to(Time{node.key().first});
  ++event_count_;
  for (uint64_t value : {static_cast<uint64_t>(node.key().first), node.key().second}) {
    fingerprint_ = (fingerprint_ ^ value) * 1099511628211ull;
  }
  if (options_.trace && node.mapped().what != nullptr) note(node.mapped().what);
  node.mapped().action();
  if (on_event_) on_event_();
}

bool SimWorld::run_until(const std::function<bool()>& done, Duration limit) {
  const int64_t end = clock_.monotonic().us + limit.us;
  while (!done()) {
    if (events_.empty() || events_.begin()->first.first > end) {
      clock_.advance_to(Time{end});
      return false;
    }
    step();
  }
  return true;
}

void SimWorld::yield() {
  if (!options_.preempt || depth_ == 0 || depth_ >= kDepthMax || draw(kYieldOdds) != 0) return;
  const Time until = clock_.monotonic() + Duration::micros(static_cast<int64_t>(draw(kYieldMax.us)));
  while (!events_.empty() && events_.begin()->first.first <= until.us) {
    // What this call of the daemon holds up waits, and everything behind it too.
    const uint32_t lane = events_.begin()->second.lane;
    if (lane != kFree && (busy_lanes_ >> lane & 1) != 0) break;
    ++interleaved_;
    step();
    if (dying_) throw Crash{};
  }
  clock_.advance_to(until);
}

void SimWorld::jump_wall(Duration by) {
  clock_.jump(by);
  if (options_.trace) note("the wall clock jumps by " + std::to_string(by.us / 1000) + " ms");
  // A loop that waits for a time of day looks at the clock now and then.
  at(Duration::micros(static_cast<int64_t>(draw(kLoopWaitMax.us))), "the loop looks at the clock",
     [this] { wake_reconcilers(); });
}

// ---- the daemon ----

bool SimWorld::in_daemon(uint32_t lane, const std::function<void()>& call) {
  if (!daemon_runs()) return false;
  ReadScope scope(nullptr);  // it is another thread than the one that lets it in between
  ++depth_;
  if (lane != kFree) busy_lanes_ |= uint64_t{1} << lane;
  try {
    call();
  } catch (const Crash&) {
    dying_ = true;
  }
  if (lane != kFree) busy_lanes_ &= ~(uint64_t{1} << lane);
  --depth_;
  if (!dying_) return true;
  if (depth_ == 0) bury_daemon();
  return false;
}

bool SimWorld::start_daemon() {
  CHECK(daemon_ == nullptr);
  daemon_ = std::make_unique<Daemon>(*this);
  ++daemon_number_;
  daemon_began_ = clock_.monotonic();
  bool started = false;
  in_daemon(kLoop, [&] {
    auto term = control::raise_term(daemon_->store, clock_.now());
    if (!term.is_ok()) throw Crash{};  // it says why and exits
    daemon_->context.term = *term;
    started = true;
  });
  if (!daemon_runs()) return false;
  CHECK(started);
  if (options_.trace) note("daemon starts, term " + std::to_string(daemon_->context.term));
  daemon_->serves = true;
  listener_ = &daemon_->hub;
  wake_reconcilers();
  return true;
}

void SimWorld::crash_daemon() {
  if (!daemon_runs()) return;
  dying_ = true;
  if (depth_ == 0) bury_daemon();
}

void SimWorld::bury_daemon() {
  if (options_.trace) note("the daemon is gone");
  listener_ = nullptr;
  daemon_.reset();
  dying_ = false;
  auto ended = std::move(sessions_);
  sessions_.clear();
  for (const auto& [node, session] : ended) end_session(session, Duration::millis(1), Duration{});
  if (on_daemon_gone_) on_daemon_gone_();
}

void SimWorld::on_crash_point(std::function<bool(std::string_view)> decide) {
  decide_crash_ = std::move(decide);
  set_crash_point_handler([this](std::string_view name) {
    if (!daemon_runs() || depth_ == 0) return;
    if (decide_crash_(name)) {
      if (options_.trace) note("crash point " + std::string(name));
      throw Crash{};
    }
    if (dying_) throw Crash{};  // of what was called meanwhile
  });
}

void SimWorld::wake_reconcilers() {
  if (!daemon_runs()) return;
  daemon_->loops.ask_all();
  wake_changed();
}

void SimWorld::wake_reconciler(std::string_view name) {
  if (!daemon_runs()) return;
  daemon_->loops.ask(name);
  wake_changed();
}

void SimWorld::wake_changed() {
  if (!daemon_runs() || !daemon_->serves) return;
  // It may be busy with something else for a while.
  const auto first = static_cast<int64_t>(50 + draw(draw(4) == 0 ? 2000 : 300'000));
  for (size_t i = 0; i < daemon_->loops.size(); ++i) {
    if (!daemon_->loops[i].is_asked()) continue;
    // In any order: the code must not need one.
    schedule_reconcile(i, Duration::micros(first + static_cast<int64_t>(draw(2000))));
  }
}

void SimWorld::schedule_reconcile(size_t index, Duration after) {
  Daemon::Round& round = daemon_->scheduled[index];
  const Time due = clock_.monotonic() + after;
  if (round.event != 0 && round.due <= due) return;
  const uint64_t event = next_event_;
  round = {event, due};
  schedule(after, nullptr, kLoop, [this, index, event] {
    // A daemon that started since has other events.
    if (!daemon_runs() || daemon_->scheduled[index].event != event) return;
    daemon_->scheduled[index].event = 0;
    if (options_.trace) note("reconcile " + std::string(daemon_->loops[index].name()));
    in_daemon(kLoop, [&] {
      const Time wake = daemon_->loops[index].reconcile(clock_.now());
      if (wake != Time::never()) schedule_reconcile(index, std::max(wake - clock_.now(), Duration::millis(1)));
    });
  });
}

Result<std::string> SimWorld::serve(const std::string& method, const std::string& path, const std::string& body,
                                    std::map<std::string, std::string> query) {
  ASSIGN_OR_RETURN(auto match, daemon_->router.match(method, path));
  if (match.route == nullptr) return not_found("no route " + method + " " + path);
  CHECK(admin_->may(match.route->permission));
  http::Request request;
  request.method = method;
  request.path = path;
  request.params = match.params;
  request.query = std::move(query);
  request.body = body;
  if (match.route->upload) {
    request.body_size = body.size();
    ASSIGN_OR_RETURN(auto sink, match.route->upload(*admin_, request));
    RETURN_IF_ERROR(sink->append(body));
    ASSIGN_OR_RETURN(auto response, sink->finish());
    return std::move(response.body);
  }
  ASSIGN_OR_RETURN(auto response, match.route->handler(*admin_, request));
  return std::move(response.body);
}

Result<std::string> SimWorld::call(const std::string& method, const std::string& path, const std::string& body,
                                   std::map<std::string, std::string> query) {
  Result<std::string> answer = unavailable("the daemon is down");
  if (!in_daemon(kFree, [&] { answer = serve(method, path, body, std::move(query)); })) {
    return unavailable("the connection broke");
  }
  return answer;
}

}  // namespace freshet::sim
