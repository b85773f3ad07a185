// The network between the daemon and its agents: sessions, their frames on the way, and uploads.
#include <algorithm>

#include "tests/sim/sim_session.h"

namespace freshet::sim {
namespace {

constexpr Duration kLatencyMin = Duration::micros(100);

}  // namespace

Duration SimWorld::latency(const std::string& node) {
  const Duration most = networks_[node].latency_max;
  if (most <= kLatencyMin) return kLatencyMin;
  return kLatencyMin + Duration::micros(static_cast<int64_t>(draw(static_cast<uint64_t>((most - kLatencyMin).us))));
}

uint32_t SimWorld::lane_of(const std::string& node) const {
  return kNodes + static_cast<uint32_t>(std::distance(agents_.begin(), agents_.find(node)));
}

bool SimWorld::Session::send(std::string frame) {
  if (closed) return false;
  if (!down_open) return true;  // it is queued, and nobody will ever read it
  SimWorld& world = world_;
  Time arrival = world.clock_.monotonic() + world.latency(node);
  arrival = std::max({arrival, down_free, world.networks_[node].down_blocked_until});
  down_free = arrival;
  world.at(arrival - world.clock_.monotonic(), nullptr,
           [&world, session = shared_from_this(), bytes = std::move(frame)] { world.to_agent(session, bytes); });
  return true;
}

void SimWorld::Session::close(const std::string& reason) {
  if (closed) return;
  closed = true;
  SimWorld& world = world_;
  if (world.options_.trace) world.note("the daemon closes the session of " + node + ": " + reason);
  up_open = false;
  const Time now = world.clock_.monotonic();
  // Behind what is queued.
  const Time told = std::max({now + kLatencyMin, down_free, world.networks_[node].down_blocked_until});
  world.end_session(shared_from_this(), told - now, kLatencyMin);
}

void SimWorld::end_session(const std::shared_ptr<Session>& session, Duration agent_learns, Duration daemon_learns) {
  SimAgent* agent = agents_.at(session->node).get();
  at(agent_learns, nullptr, [agent, session] {
    session->down_open = false;
    agent->on_closed(session->id());
  });
  schedule(daemon_learns, nullptr, lane_of(session->node), [this, session] {
    if (session->daemon != daemon_number_ || listener_ == nullptr) return;
    in_daemon(lane_of(session->node), [&] { listener_->on_close(*session, unavailable("the connection ended")); });
  });
}

void SimWorld::cut(const std::string& node, Duration agent_learns, Duration daemon_learns) {
  auto found = sessions_.find(node);
  if (found == sessions_.end()) return;
  auto session = found->second;
  sessions_.erase(found);
  session->up_open = session->down_open = false;
  end_session(session, agent_learns, daemon_learns);
}

uint64_t SimWorld::open_session(const std::string& node) {
  const NodeNetwork& network = networks_[node];
  const Time now = clock_.monotonic();
  if (!daemon_runs() || listener_ == nullptr || network.up_blocked_until > now || network.down_blocked_until > now) {
    return 0;
  }
  auto session = std::make_shared<Session>(*this, node, next_session_++, daemon_number_);
  sessions_[node] = session;
  return in_daemon(lane_of(node), [&] { listener_->on_open(session); }) ? session->id() : 0;
}

void SimWorld::to_daemon(const std::string& node, uint64_t session_id, const v1::AgentFrame& frame) {
  auto found = sessions_.find(node);
  if (found == sessions_.end() || found->second->id() != session_id) return;
  auto session = found->second;
  const Time now = clock_.monotonic();
  const Time arrival = std::max({now + latency(node), session->up_free, networks_[node].up_blocked_until});
  session->up_free = arrival;
  schedule(arrival - now, nullptr, lane_of(node),
           [this, session, bytes = frame.SerializeAsString(), is_hello = frame.has_hello()] {
             if (!session->up_open || session->daemon != daemon_number_) return;
             if (options_.trace) note("frame from " + session->node);
             if (!is_hello && daemon_runs()) heard_[session->node] = clock_.monotonic();
             in_daemon(lane_of(session->node), [&] { listener_->on_message(*session, bytes); });
           });
}

Time SimWorld::last_heard(const std::string& node) const {
  auto found = heard_.find(node);
  return found == heard_.end() ? daemon_began_ : std::max(daemon_began_, found->second);
}

void SimWorld::to_agent(const std::shared_ptr<Session>& session, const std::string& bytes) {
  if (!session->down_open) return;
  v1::DaemonFrame frame;
  CHECK(frame.ParseFromString(bytes));
  if (options_.trace && !frame.has_heartbeat_ack()) note("frame to " + session->node);
  agents_.at(session->node)->on_frame(session->id(), frame);
}

Result<std::string> SimWorld::upload(const std::string& node, const std::string& path, const std::string& body) {
  const NodeNetwork& network = networks_[node];
  const Time now = clock_.monotonic();
  if (network.up_blocked_until > now) return deadline("no answer");
  auto answer = call("PUT", path, body);
  if (network.down_blocked_until > now) return deadline("no answer");
  return answer;
}

SimAgent& SimWorld::add_agent(const std::string& node, uint32_t slots) {
  auto& agent = agents_[node];
  agent = std::make_unique<SimAgent>(*this, node, slots);
  at(Duration::millis(static_cast<int64_t>(draw(50))), "an agent starts", [agent = agent.get()] { agent->start(); });
  return *agent;
}

}  // namespace freshet::sim
