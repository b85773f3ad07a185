// Two threads put files, seal artifacts of them and pin them; the store is opened several times.
#include <set>
#include <thread>

#include "base/sha256.h"
#include "daemon/store/artifact_store.h"
#include "proto/json.h"
#include "tests/power/workload.h"

namespace freshet::power {
namespace {

constexpr uint64_t kThreads = 2;
constexpr uint64_t kOpenings = 2;
constexpr uint64_t kArtifacts = 3;  // of a thread, between two openings

std::string manifest_of(const std::vector<std::string>& files) {
  v1::ArtifactManifest manifest;
  manifest.set_type("files");
  for (size_t i = 0; i < files.size(); ++i) {
    auto* file = manifest.add_files();
    file->set_name("part-" + std::to_string(i));
    file->set_size(files[i].size());
    file->set_sha256(Sha256::hex_of(files[i]));
  }
  return to_canonical_json(manifest);
}

Status make_artifact(ArtifactStore& store, uint64_t number) {
  std::vector<std::string> files;
  for (uint64_t i = 0; i < 2; ++i) {
    files.push_back(payload_of("artifact", 10 * number + i, 100 + 3000 * i + number));
    RETURN_IF_ERROR(put_bytes(store, files.back()));
    acknowledge("put " + Sha256::hex_of(files.back()));
  }
  const std::string manifest = manifest_of(files);
  const std::string digest = Sha256::hex_of(manifest);
  RETURN_IF_ERROR(store.seal(digest, manifest).status());
  acknowledge("sealed " + digest);
  RETURN_IF_ERROR(store.pin(digest, "model m/1"));
  acknowledge("pinned " + digest);
  if (number % 3 != 0) return Status::ok();
  RETURN_IF_ERROR(store.pin(digest, "model m/2"));
  RETURN_IF_ERROR(store.unpin(digest, "model m/2"));
  acknowledge("unpinned " + digest);
  return Status::ok();
}

Status read_whole(const ArtifactStore& store, const std::string& digest) {
  ASSIGN_OR_RETURN(std::string bytes, store.manifest(digest));
  ASSIGN_OR_RETURN(v1::ArtifactManifest manifest, check_manifest(digest, bytes));
  for (const v1::ArtifactFile& file : manifest.files()) RETURN_IF_ERROR(store.read(digest, file.name()).status());
  return Status::ok();
}

class ArtifactWorkload final : public Workload {
 public:
  Status record(const std::filesystem::path& root, uint64_t) override {
    for (uint64_t opening = 0; opening < kOpenings; ++opening) {
      ASSIGN_OR_RETURN(auto store, LocalArtifactStore::open(root / "artifacts"));
      std::vector<Status> results(kThreads);
      std::vector<std::thread> threads;
      for (uint64_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
          for (uint64_t i = 0; i < kArtifacts && results[thread].is_ok(); ++i) {
            results[thread] = make_artifact(*store, (opening * kThreads + thread) * kArtifacts + i);
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (const Status& result : results) RETURN_IF_ERROR(result);
    }
    return Status::ok();
  }

  Status check(const std::filesystem::path& root, const std::vector<std::string>& acknowledged) override {
    ASSIGN_OR_RETURN(auto store, LocalArtifactStore::open(root / "artifacts"));
    for (const auto& words : acknowledged_as(acknowledged, "put")) {
      if (!store->has_file(words[0])) return corrupt("lost: file " + words[0]);
    }
    for (const auto& words : acknowledged_as(acknowledged, "sealed")) {
      if (!store->exists(words[0])) return corrupt("lost: artifact " + words[0]);
    }
    for (const auto& words : acknowledged_as(acknowledged, "pinned")) {
      ASSIGN_OR_RETURN(auto pins, store->pins(words[0]));
      if (!pins.contains("model m/1")) return corrupt("lost: the pin of " + words[0]);
    }
    for (const auto& words : acknowledged_as(acknowledged, "unpinned")) {
      ASSIGN_OR_RETURN(auto pins, store->pins(words[0]));
      if (pins.contains("model m/2")) return corrupt("back again: the pin that was taken from " + words[0]);
    }
    // Whatever claims to be sealed, or to be a file with a digest, is it.
    for (const auto& sealed : std::filesystem::directory_iterator(root / "artifacts/sealed")) {
      const std::string digest = sealed.path().filename().string();
      if (is_sha256_hex(digest)) RETURN_IF_ERROR(read_whole(*store, digest));
    }
    return make_artifact(*store, 1'000'000);
  }
};

}  // namespace

std::unique_ptr<Workload> make_artifact_workload() { return std::make_unique<ArtifactWorkload>(); }

}  // namespace freshet::power
