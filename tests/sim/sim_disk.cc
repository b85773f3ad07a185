#include "tests/sim/sim_disk.h"

#include "base/check.h"
#include "base/sha256.h"

namespace freshet::sim {
namespace {

class FailingSnapshot final : public KvSnapshot {
 public:
  Result<std::optional<std::string>> get(std::string_view) const override { return failed(); }
  Result<std::vector<KvPair>> scan(std::string_view, std::string_view, size_t, bool) const override { return failed(); }

 private:
  static Status failed() { return unavailable("read: Input/output error"); }
};

}  // namespace

std::unique_ptr<KvSnapshot> SimKv::snapshot() const {
  if (faults_.read_error_odds != 0 && draw_(faults_.read_error_odds) == 0) {
    ++faults_.failed_reads;
    return std::make_unique<FailingSnapshot>();
  }
  return kv_.snapshot();
}

Status SimKv::apply(const std::vector<KvWrite>& batch) {
  Status status = kv_.write(batch);
  if (status.is_ok() && on_batch_) on_batch_(batch);
  return status;
}

Status SimKv::write(const std::vector<KvWrite>& batch) {
  if (faults_.torn_write) {
    faults_.torn_write = false;
    ++faults_.torn;
    // The log holds the whole batch or its end is cut off and ignored at the next start.
    if (draw_(2) == 0) CHECK(apply(batch).is_ok());
    throw Crash{};
  }
  if (faults_.full) {
    ++faults_.refused_full;
    return resource_exhausted("write: No space left on device");
  }
  if (faults_.write_error_odds != 0 && draw_(faults_.write_error_odds) == 0) {
    const bool written = draw_(2) == 0;
    ++(written ? faults_.failed_written : faults_.failed_unwritten);
    if (written) CHECK(apply(batch).is_ok());
    return unavailable("write: Input/output error");
  }
  return apply(batch);
}

Status SimArtifacts::may_write() {
  if (faults_.full) {
    ++faults_.refused_full;
    return resource_exhausted("write: No space left on device");
  }
  if (faults_.write_error_odds != 0 && draw_(faults_.write_error_odds) == 0) {
    ++faults_.failed_unwritten;
    return unavailable("write: Input/output error");
  }
  return Status::ok();
}

Status SimArtifacts::may_read() const {
  if (faults_.read_error_odds == 0 || draw_(faults_.read_error_odds) != 0) return Status::ok();
  ++faults_.failed_reads;
  return unavailable("read: Input/output error");
}

void SimArtifacts::leave_upload(const std::string& content) {
  const std::string manifest = R"({"files":[{"name":"rest","sha256":")" + Sha256::hex_of(content) + R"(","size":")" +
                               std::to_string(content.size()) + R"("}],"type":"files"})";
  CHECK(put_bytes(store_, content).is_ok());
  CHECK(store_.seal(Sha256::hex_of(manifest), manifest).is_ok());
}

Result<std::unique_ptr<ArtifactWriter>> SimArtifacts::put_file(const std::string& sha256,
                                                               std::optional<uint64_t> size) {
  RETURN_IF_ERROR(may_write());
  return store_.put_file(sha256, size);
}

Result<v1::ArtifactManifest> SimArtifacts::seal(const std::string& digest, const std::string& manifest) {
  RETURN_IF_ERROR(may_write());
  return store_.seal(digest, manifest);
}

Result<std::string> SimArtifacts::manifest(const std::string& digest) const {
  RETURN_IF_ERROR(may_read());
  return store_.manifest(digest);
}

Result<std::string> SimArtifacts::read(const std::string& digest, const std::string& name) const {
  RETURN_IF_ERROR(may_read());
  return store_.read(digest, name);
}

Result<std::optional<std::filesystem::path>> SimArtifacts::path(const std::string& digest,
                                                                const std::string& name) const {
  RETURN_IF_ERROR(may_read());
  return store_.path(digest, name);
}

Status SimArtifacts::pin(const std::string& digest, const std::string& by) {
  RETURN_IF_ERROR(may_write());
  return store_.pin(digest, by);
}

Status SimArtifacts::unpin(const std::string& digest, const std::string& by) {
  RETURN_IF_ERROR(may_write());
  return store_.unpin(digest, by);
}

}  // namespace freshet::sim
