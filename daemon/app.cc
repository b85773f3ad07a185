#include "daemon/app.h"

#include <atomic>
#include <filesystem>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "base/unfinished_files.h"
#include "base/version.h"
#include "daemon/api/agent_hub.h"
#include "daemon/api/services.h"
#include "daemon/async/loop_runner.h"
#include "daemon/backup_jobs.h"
#include "daemon/control/answer_reconciler.h"
#include "daemon/control/attempt_reconciler.h"
#include "daemon/control/catalog.h"
#include "daemon/control/disk_guard.h"
#include "daemon/control/gc_reconciler.h"
#include "daemon/control/outbox_reconciler.h"
#include "daemon/control/placement_reconciler.h"
#include "daemon/control/run_reconciler.h"
#include "daemon/control/term.h"
#include "daemon/control/trigger_reconciler.h"
#include "daemon/control/watched_loop.h"
#include "daemon/http/http_server.h"
#include "daemon/prometheus_metrics.h"
#include "daemon/providers/local.h"
#include "daemon/providers/local_keeper.h"
#include "daemon/providers/local_log_reader.h"
#include "daemon/sources/local_source_hub.h"
#include "daemon/store/artifact_store.h"
#include "daemon/store/keys.h"
#include "daemon/store/local_disk.h"
#include "daemon/store/rocks_kv.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"
#include "daemon/webhooks/http_webhook_sender.h"

namespace freshet {
namespace {

constexpr size_t kIoThreads = 1;
constexpr size_t kHandlerThreads = 8;
constexpr size_t kHandlerQueue = 1024;
constexpr Duration kDrain = Duration::seconds(2);

control::GcOptions gc_options(const v1::DaemonConfig& config) {
  return {Duration::seconds(config.gc_interval_s()), Duration::seconds(config.gc_grace_s())};
}

}  // namespace

// Members are destroyed from the last to the first: what serves others stands before them.
struct App::Impl {
  Impl(const v1::DaemonConfig& configuration, std::unique_ptr<RocksKv> database,
       std::unique_ptr<LocalArtifactStore> artifact_files, net::AddressPolicy webhook_policy)
      : config(configuration),
        data_dir(configuration.data_dir()),
        kv(std::move(database)),
        store(*kv, clock),
        artifacts(std::move(artifact_files)),
        disk(*kv, {data_dir / "store", data_dir / "artifacts"}),
        disk_guard(disk, uint64_t{config.disk_reserve_mb()} << 20),
        sources(data_dir / "git"),
        logs(data_dir / "agent"),
        authenticator(clock),
        context{store,
                clock,
                random,
                sources,
                *artifacts,
                agent_hub,
                [this] { wake(); },
                0,
                kVersion,
                config.heartbeat_ms(),
                config.lease_ms(),
                &disk_guard,
                [this] { wake_changed(); }},
        agents(context),
        pipelines(context),
        runs(context, logs),
        models(context),
        data(context),
        system(context),
        artifact_service(context),
        answer_service(context),
        webhooks(context),
        gc(context, gc_options(config)),
        catalog(context),
        triggers(context),
        run_loop(context),
        placement(context),
        attempts(context, agents),
        backups(*kv, *artifacts, clock),
        disk_loop(disk, disk_guard, [this] { wake(); }),
        answers(context),
        webhook_sender(std::move(webhook_policy), clock,
                       [this] {
                         loops.ask(outbox.name());
                         loop.wake();
                       }),
        outbox(context, webhook_sender),
        gc_loop(context, gc_options(config)),
        loops({&disk_loop, &catalog, &triggers, &run_loop, &placement, &attempts, &answers, &outbox, &gc_loop}),
        loop(loops.all(), clock),
        pool("handlers", kHandlerThreads, kHandlerQueue),
        io(kIoThreads) {
    agent_hub.set_service(agents);
    sources.set_wake([this] { wake(); });
    store.on_written([this](const auto& keys) { loops.on_written(keys); });
  }

  ~Impl() {
    keeper.reset();
    if (server != nullptr) server->stop(kDrain);
    io.stop();
    pool.stop();
    loop.stop();
    webhook_sender.stop();
    sources.set_sources({});
    log_info("freshetd", "stopped");
  }

  void wake() {
    loops.ask_all();
    wake_changed();
  }

  void wake_changed() {
    loop.wake();
    if (http::HttpServer* listening = serving.load()) listening->wake_streams();
  }

  Status serve() {
    ASSIGN_OR_RETURN(context.term, control::raise_term(store, clock.now()));
    CRASH_POINT("daemon.token.before_write");
    ASSIGN_OR_RETURN(std::string token, http::load_or_create_token(data_dir / "admin.token", "admin", random));
    CRASH_POINT("daemon.token.after_write");
    authenticator.add_token("admin", token, http::PermissionSet::all());
    api::Services services{pipelines,
                           runs,
                           models,
                           data,
                           system,
                           artifact_service,
                           answer_service,
                           webhooks,
                           gc,
                           [this] { return metrics.text(context); },
                           [this] { return context.admit(); },
                           &backups};
    api::add_routes(router, services, agent_hub);
    RETURN_IF_ERROR(catalog.watch_sources(*store.snapshot()));
    io.start();
    http::HttpServerOptions options;
    options.listen = config.listen();
    ASSIGN_OR_RETURN(server, http::HttpServer::start(options, router, authenticator, io, pool, &metrics));
    serving = server.get();
    CRASH_POINT("daemon.address.before_write");
    RETURN_IF_ERROR(write_file_durably(data_dir / "address", server->url() + "\n"));
    CRASH_POINT("daemon.address.after_write");
    CRASH_POINT("daemon.start.before_ready");
    loop.start();
    CRASH_POINT("daemon.agent.before_start");
    if (!config.no_local_agent()) {
      auto provider = ensure_local_agent(data_dir, server->url(), config.local_slots(), config.local_products());
      RETURN_IF_ERROR(provider.status().with_context("local agent"));
      keeper.emplace(std::move(*provider));
    }
    return Status::ok();
  }

  const v1::DaemonConfig config;
  const std::filesystem::path data_dir;
  SystemClock clock;
  SystemRandom random;
  std::unique_ptr<RocksKv> kv;
  Writer store;
  std::unique_ptr<LocalArtifactStore> artifacts;
  LocalDisk disk;
  control::DiskGuard disk_guard;
  LocalSourceHub sources;
  LocalLogReader logs;
  api::AgentHub agent_hub;
  http::Authenticator authenticator;
  PrometheusMetrics metrics;
  control::Context context;
  control::AgentService agents;
  control::PipelineService pipelines;
  control::RunService runs;
  control::ModelService models;
  control::DataService data;
  control::SystemService system;
  control::ArtifactService artifact_service;
  control::AnswerService answer_service;
  control::WebhookService webhooks;
  control::GcService gc;
  control::CatalogReconciler catalog;
  control::TriggerReconciler triggers;
  control::RunReconciler run_loop;
  control::PlacementReconciler placement;
  control::AttemptReconciler attempts;
  BackupJobs backups;
  control::DiskReconciler disk_loop;
  control::AnswerReconciler answers;
  HttpWebhookSender webhook_sender;
  control::OutboxReconciler outbox;
  control::GcReconciler gc_loop;
  http::Router router;
  control::WatchedLoops loops;
  async::LoopRunner loop;
  async::WorkerPool pool;
  async::IoThreads io;
  std::unique_ptr<http::HttpServer> server;
  std::optional<LocalAgentKeeper> keeper;
  std::atomic<http::HttpServer*> serving = nullptr;
};

App::App(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
App::~App() = default;

std::string App::url() const { return impl_->server->url(); }

Result<std::unique_ptr<App>> App::start(const v1::DaemonConfig& config) {
  auto webhook_policy = net::AddressPolicy::parse({config.webhook_allow().begin(), config.webhook_allow().end()});
  RETURN_IF_ERROR(webhook_policy.status().with_context("webhook_allow"));
  const std::filesystem::path data_dir = config.data_dir();
  RETURN_IF_ERROR(make_directories(data_dir));
  RocksKvOptions options;
  options.data_directory = data_dir / "store";
  ASSIGN_OR_RETURN(auto kv, RocksKv::open(options));
  // The store is locked: nobody else writes here any more.
  for (const auto& directory : {data_dir, options.data_directory}) RETURN_IF_ERROR(remove_unfinished_files(directory));
  ASSIGN_OR_RETURN(auto artifacts, LocalArtifactStore::open(data_dir / "artifacts"));
  auto impl = std::make_unique<Impl>(config, std::move(kv), std::move(artifacts), std::move(*webhook_policy));
  RETURN_IF_ERROR(impl->serve());
  log_info("freshetd", "version " + std::string(kVersion) + " serves " + data_dir.string() + " at " +
                           impl->server->url() + ", term " + std::to_string(impl->context.term));
  return std::unique_ptr<App>(new App(std::move(impl)));
}

}  // namespace freshet
