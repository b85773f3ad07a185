// objective.bin of a checkpoint: what the objective keeps from step to step beside the weights, as it is. It is the
// same on all ranks, so rank 0 writes it; there is none where an objective keeps nothing. Blocking; any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

#include "base/status.h"
#include "proto/artifact.pb.h"

namespace freshet::worker {

inline constexpr const char* kObjectiveFile = "objective.bin";

// Written and synced.
Result<v1::ArtifactFile> write_objective_file(const std::filesystem::path& directory, std::span<const std::byte> bytes);

Result<std::vector<std::byte>> read_objective_file(const std::filesystem::path& directory);

}  // namespace freshet::worker
