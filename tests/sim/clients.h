// People and programs that use the API: they submit with keys and retry until they have an answer, cancel, promote
// against each other, roll back, replay, apply changed documents, pause triggers, decide on data and look at things.
// What they asked for and were told goes to the second model.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "tests/sim/expectation.h"
#include "tests/sim/faults.h"

namespace freshet::sim {

class Clients {
 public:
  Clients(SimWorld& world, Faults& faults, Checker& checker, Expectation& expectation)
      : world_(world), faults_(faults), checker_(checker), expectation_(expectation) {}

  // Applies the documents, again and again until it is done.
  void apply(const std::string& documents);
  // One thing that somebody does now.
  void act();
  // The daemon is at this crash point: somebody else may promote right now, after somebody has submitted.
  void at_point(std::string_view point);
  // One version of the model that is there after so long is replayed.
  void replay_later(const std::string& model, Duration after);
  // Requests that are not answered for good yet.
  size_t open() const { return open_; }

 private:
  using Answer = std::function<void(const Result<std::string>&)>;
  // Sends until the answer is final: ok, or an error that another try won't change.
  void request(const std::string& method, const std::string& path, const std::string& body, Answer answer);
  void attempt(const std::string& method, const std::string& path, const std::string& body, const Answer& answer);
  Result<std::string> http(const std::string& method, const std::string& path, const std::string& body);
  void submit(bool at_once = false);
  void cancel();
  void race_promoters();
  uint64_t newest_version(const std::string& model) const;
  // The start of the body of a request, which is noted as sent.
  std::string promotion(const std::string& model, uint64_t version, bool overrides);
  void roll_back();
  void replay(const std::string& model);
  void change_documents();
  void pause_trigger();
  void decide_data();
  void ask_of_webhooks();
  void look();

  SimWorld& world_;
  Faults& faults_;
  Checker& checker_;
  Expectation& expectation_;
  std::string documents_;
  uint64_t next_key_ = 1;
  size_t open_ = 0;
  bool is_rival_ = false;
};

}  // namespace freshet::sim
