#include "worker/model/predict.h"

#include <algorithm>
#include <numeric>

#include "worker/checkpoint/model_artifact.h"
#include "worker/train/thread_pool.h"

namespace freshet::worker {
namespace {

// Rows of one product. Fixed, so that a row's prediction does not depend on the number of threads.
constexpr size_t kTileRows = 512;

class TabularPredictor final : public Predictor {
 public:
  explicit TabularPredictor(ModelArtifact artifact) : artifact_(std::move(artifact)) {}

  const Transform& transform() const override { return artifact_.transform; }

  Result<std::vector<float>> predict(const EncodedRows& rows, unsigned threads) const override {
    const TabularModel& model = artifact_.model;
    RETURN_IF_ERROR(model.check_rows(rows, false));
    const size_t outputs = model.shape().outputs();
    std::vector<float> output(rows.rows * outputs);
    ThreadPool pool(std::max(threads, 1U));
    std::vector<TabularModel::Workspace> workspaces(pool.threads(), TabularModel::Workspace(model, kTileRows));
    std::vector<std::vector<uint32_t>> indices(pool.threads());
    RETURN_IF_ERROR(pool.run((rows.rows + kTileRows - 1) / kTileRows, [&](size_t tile, unsigned thread) {
      size_t first = tile * kTileRows, count = std::min(kTileRows, rows.rows - first);
      indices[thread].resize(count);
      std::iota(indices[thread].begin(), indices[thread].end(), static_cast<uint32_t>(first));
      return model.forward(rows, indices[thread], artifact_.parameters.data(), &workspaces[thread],
                           output.data() + first * outputs);
    }));
    if (!model.shape().binary && model.shape().classes == 0) {
      double mean = artifact_.transform.label_mean(), scale = artifact_.transform.label_scale();
      for (float& value : output) value = static_cast<float>(static_cast<double>(value) * scale + mean);
    }
    return output;
  }

 private:
  const ModelArtifact artifact_;
};

}  // namespace

Result<std::unique_ptr<Predictor>> load_predictor(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(ModelArtifact artifact, load_model(directory));
  return std::unique_ptr<Predictor>(std::make_unique<TabularPredictor>(std::move(artifact)));
}

}  // namespace freshet::worker
