// A worker's checkpoints: each an artifact that is a directory without a suffix only when it is whole.
#include "base/file.h"
#include "base/sha256.h"
#include "tests/power/workload.h"
#include "worker/checkpoint/artifact_writer.h"
#include "worker/checkpoint/manifest.h"

namespace freshet::power {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kCheckpoints = 12;

class CheckpointWorkload final : public Workload {
 public:
  Status record(const fs::path& root, uint64_t) override {
    RETURN_IF_ERROR(make_directories(root / "output"));
    for (uint64_t step = 0; step < kCheckpoints; ++step) RETURN_IF_ERROR(write_one(root, step));
    return Status::ok();
  }

  Status check(const fs::path& root, const std::vector<std::string>& acknowledged) override {
    RETURN_IF_ERROR(make_directories(root / "output"));
    for (const auto& words : acknowledged_as(acknowledged, "sealed")) {
      ASSIGN_OR_RETURN(std::string manifest, read_file(root / "output" / words[0] / "manifest.json"));
      if (Sha256::hex_of(manifest) != words[1]) return corrupt("another manifest in " + words[0]);
    }
    for (const auto& found : fs::directory_iterator(root / "output")) {
      if (found.path().extension() != ".tmp") RETURN_IF_ERROR(worker::verify_artifact(found.path()).status());
    }
    return write_one(root, kCheckpoints);
  }

 private:
  static Status write_one(const fs::path& root, uint64_t step) {
    const std::string name = "step-" + std::to_string(step);
    ASSIGN_OR_RETURN(auto writer, worker::ArtifactWriter::create(root / "output", name, "files"));
    for (uint64_t part = 0; part < 3; ++part) {
      RETURN_IF_ERROR(writer.add_file("part-" + std::to_string(part), payload_of(name, part, 1 + part * 9000)));
    }
    ASSIGN_OR_RETURN(v1::ProducedOutput output, writer.seal());
    acknowledge("sealed " + name + " " + output.digest());
    return Status::ok();
  }
};

}  // namespace

std::unique_ptr<Workload> make_checkpoint_workload() { return std::make_unique<CheckpointWorkload>(); }

}  // namespace freshet::power
