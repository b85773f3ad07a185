// A daemon in memory for the agent's tests: records what agents send, keeps artifacts, answers what a test tells it to
// answer, and can be away. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "agent/channel.h"
#include "base/file.h"
#include "base/sha256.h"
#include "proto/artifact.pb.h"
#include "proto/json.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {

class FakeNetwork final : public DaemonNetwork {
 public:
  Result<std::unique_ptr<AgentChannel>> connect(ChannelCallbacks callbacks) override {
    std::lock_guard lock(mutex_);
    ++attempts_;
    changed_.notify_all();
    if (!reachable_) return unavailable("connection refused");
    callbacks_ = std::move(callbacks);
    ++connections_;
    connected_ = true;
    return std::unique_ptr<AgentChannel>(std::make_unique<Channel>(*this, connections_));
  }
  std::unique_ptr<ArtifactTransfer> make_transfer() override { return std::make_unique<Transfer>(*this); }

  void set_reachable(bool reachable) {
    std::lock_guard lock(mutex_);
    reachable_ = reachable;
  }
  void set_uploads_fail(Status why) {
    std::lock_guard lock(mutex_);
    upload_error_ = std::move(why);
    changed_.notify_all();
  }
  void drop_connection() {
    ChannelCallbacks callbacks;
    {
      std::lock_guard lock(mutex_);
      if (!connected_) return;
      connected_ = false;
      callbacks = callbacks_;
    }
    callbacks.on_close(unavailable("the test dropped the connection"));
  }
  void send(const v1::DaemonFrame& frame) {
    ChannelCallbacks callbacks;
    {
      std::lock_guard lock(mutex_);
      CHECK(connected_);
      callbacks = callbacks_;
    }
    callbacks.on_frame(frame);
  }

  // The next frame that `wanted` accepts; those before it are passed over for good.
  v1::AgentFrame await(const std::function<bool(const v1::AgentFrame&)>& wanted) {
    std::unique_lock lock(mutex_);
    v1::AgentFrame found;
    const bool came = changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      for (; read_ < frames_.size(); ++read_) {
        if (!wanted(frames_[read_])) continue;
        found = frames_[read_++];
        return true;
      }
      return false;
    });
    EXPECT_TRUE(came) << "the frame did not come";
    return found;
  }
  v1::AgentHello await_hello() {
    return await([](const auto& frame) { return frame.has_hello(); }).hello();
  }
  int connection_attempts() const {
    std::lock_guard lock(mutex_);
    return attempts_;
  }
  int upload_attempts() const {
    std::lock_guard lock(mutex_);
    return upload_attempts_;
  }

  // Every journal entry that has come of the gang, by sequence; an entry that came twice must be the same.
  std::map<uint64_t, v1::JournalEntry> journal(const std::string& gang_id) const {
    std::lock_guard lock(mutex_);
    auto found = journals_.find(gang_id);
    return found == journals_.end() ? std::map<uint64_t, v1::JournalEntry>() : found->second;
  }
  // Waits for the exit entry.
  v1::ExitRecord await_exit(const std::string& gang_id) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      const auto& entries = journals_[gang_id];
      return !entries.empty() && entries.rbegin()->second.has_exit();
    });
    EXPECT_TRUE(came) << "no exit of gang " << gang_id;
    return came ? journals_[gang_id].rbegin()->second.exit() : v1::ExitRecord();
  }
  // True while each journal entry came after all earlier ones, and each output after its artifact.
  bool in_order() const {
    std::lock_guard lock(mutex_);
    return in_order_;
  }

  // Journal entries that came a second time.
  int repeated_entries() const {
    std::lock_guard lock(mutex_);
    return repeated_entries_;
  }

  std::string add_artifact(const std::map<std::string, std::string>& contents) {
    v1::ArtifactManifest manifest;
    manifest.set_type("model");
    for (const auto& [name, content] : contents) {
      auto* file = manifest.add_files();
      file->set_name(name);
      file->set_size(content.size());
      file->set_sha256(Sha256::hex_of(content));
    }
    const std::string bytes = to_canonical_json(manifest);
    std::lock_guard lock(mutex_);
    const std::string digest = Sha256::hex_of(bytes);
    artifacts_[digest] = Artifact{bytes, contents};
    return digest;
  }
  void damage_artifact(const std::string& digest, const std::string& name) {
    std::lock_guard lock(mutex_);
    artifacts_[digest].files[name][0] ^= 1;
  }
  bool has_artifact(const std::string& digest) const {
    std::lock_guard lock(mutex_);
    auto found = artifacts_.find(digest);
    return found != artifacts_.end() && !found->second.manifest.empty();
  }
  int downloads() const {
    std::lock_guard lock(mutex_);
    return downloads_;
  }

 private:
  struct Artifact {
    std::string manifest;  // empty: not sealed
    std::map<std::string, std::string> files;
  };

  class Channel final : public AgentChannel {
   public:
    Channel(FakeNetwork& network, int number) : network_(network), number_(number) {}
    Status send(const v1::AgentFrame& frame) override { return network_.receive(number_, frame); }

   private:
    FakeNetwork& network_;
    int number_;
  };

  class Transfer final : public ArtifactTransfer {
   public:
    explicit Transfer(FakeNetwork& network) : network_(network) {}
    Result<std::string> get_manifest(const std::string& digest) override {
      std::lock_guard lock(network_.mutex_);
      if (!network_.reachable_) return unavailable("connection refused");
      auto found = network_.artifacts_.find(digest);
      if (found == network_.artifacts_.end() || found->second.manifest.empty())
        return not_found("no artifact " + digest);
      return found->second.manifest;
    }
    Status get_file(const std::string& digest, const std::string& name, const fs::path& to) override {
      std::lock_guard lock(network_.mutex_);
      ++network_.downloads_;
      return write_file_durably(to, network_.artifacts_[digest].files[name]);
    }
    Status put_file(const std::string& sha256, const fs::path& from) override {
      std::lock_guard lock(network_.mutex_);
      ++network_.upload_attempts_;
      network_.changed_.notify_all();
      if (!network_.reachable_) return unavailable("connection refused");
      RETURN_IF_ERROR(network_.upload_error_);
      if (Sha256::hex_of(text_of(from)) != sha256) return invalid_argument("the file has another digest");
      network_.uploaded_.insert(sha256);
      return Status::ok();
    }
    Status put_manifest(const std::string& digest, const fs::path& from) override {
      std::lock_guard lock(network_.mutex_);
      v1::ArtifactManifest manifest;
      RETURN_IF_ERROR(from_json(text_of(from), &manifest));
      for (const auto& file : manifest.files()) {
        if (!network_.uploaded_.contains(file.sha256())) return invalid_argument(file.name() + " is not uploaded");
      }
      network_.artifacts_[digest].manifest = text_of(from);
      return Status::ok();
    }
    void cancel() override {}

   private:
    FakeNetwork& network_;
  };

  Status receive(int connection, const v1::AgentFrame& frame) {
    std::lock_guard lock(mutex_);
    if (!connected_ || connection != connections_) return unavailable("not connected");
    frames_.push_back(frame);
    if (frame.has_journal()) {
      auto& journal = journals_[frame.journal().gang_id()];
      for (const auto& entry : frame.journal().entries()) {
        const uint64_t last = journal.empty() ? 0 : journal.rbegin()->first;
        if (entry.sequence() > last + 1) in_order_ = false;
        if (entry.has_output() && artifacts_[entry.output().digest()].manifest.empty()) in_order_ = false;
        auto [at, is_new] = journal.emplace(entry.sequence(), entry);
        if (!is_new) ++repeated_entries_;
        if (!is_new && at->second.SerializeAsString() != entry.SerializeAsString()) in_order_ = false;
      }
    }
    changed_.notify_all();
    return Status::ok();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool reachable_ = true;
  bool connected_ = false;
  int attempts_ = 0;
  int connections_ = 0;
  int downloads_ = 0;
  int upload_attempts_ = 0;
  Status upload_error_;
  ChannelCallbacks callbacks_;
  std::vector<v1::AgentFrame> frames_;
  size_t read_ = 0;
  std::map<std::string, std::map<uint64_t, v1::JournalEntry>> journals_;
  std::map<std::string, Artifact> artifacts_;
  std::set<std::string> uploaded_;  // files, by their digest
  bool in_order_ = true;
  int repeated_entries_ = 0;
};

}  // namespace freshet::agent
