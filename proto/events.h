// The kinds of events that webhooks are told. Constants, any thread.
#pragma once

#include <string>
#include <vector>

namespace freshet {

inline constexpr char kRunFinished[] = "run.finished";
inline constexpr char kVersionCreated[] = "version.created";
inline constexpr char kAliasMoved[] = "alias.moved";
inline constexpr char kGateRefused[] = "gate.refused";
inline constexpr char kSourceDegraded[] = "source.degraded";
inline constexpr char kSourceRecovered[] = "source.recovered";
inline constexpr char kNodeLost[] = "node.lost";
inline constexpr char kWebhookTest[] = "webhook.test";  // sent on demand, not asked for by a webhook

// Those that a webhook may ask for.
inline const std::vector<std::string>& event_types() {
  static const std::vector<std::string> kTypes = {kRunFinished,    kVersionCreated,  kAliasMoved, kGateRefused,
                                                  kSourceDegraded, kSourceRecovered, kNodeLost};
  return kTypes;
}

}  // namespace freshet
