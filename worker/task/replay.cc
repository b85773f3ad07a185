#include "worker/task/replay.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "base/log.h"
#include "proto/digest.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/products_file.h"
#include "worker/checkpoint/weights.h"
#include "worker/task/task.h"
#include "worker/task/training.h"

namespace freshet::worker {
namespace {

// Its curves are not those of the training that is done again, which may be of the same run.
class ReplayReporter final : public Reporter {
 public:
  explicit ReplayReporter(Reporter* reporter) : reporter_(*reporter) {}
  Status milestone(std::string_view name) override { return reporter_.milestone(name); }
  Status produced(const v1::ProducedOutput& output) override { return reporter_.produced(output); }
  void metric(std::string_view name, double value, int64_t step) override {
    reporter_.metric("replay_" + std::string(name), value, step);
  }

 private:
  Reporter& reporter_;
};

// Says how far the weights are from the recorded ones, as far as these can still be read.
void compare(const v1::ReplayTask& task, const Training& training, const std::vector<float>& replayed,
             v1::ReplayReport* report) {
  if (task.model().path().empty()) {
    report->set_not_compared("the artifact of the version was collected");
    return;
  }
  auto manifest = verify_model(task.model().path(), training.family(), {});
  auto recorded = manifest.is_ok() ? read_weights(task.model().path(), *manifest, training.tensors())
                                   : Result<std::vector<float>>(manifest.status());
  if (!recorded.is_ok()) {
    report->set_not_compared(recorded.status().message());
    return;
  }
  for (auto& difference : tensor_differences(training.tensors(), *recorded, replayed)) {
    *report->add_differences() = std::move(difference);
  }
}

// By which table of matrix products the model was trained. nullopt, and a line in the log: it can't be had, so that the
// node's has to do.
std::optional<std::string> recorded_products(const TaskContext& context) {
  const v1::ReplayTask& task = context.attempt.replay();
  const std::string& digest = task.expected().numerics().products();
  auto text = task.model().path().empty() && !digest.empty()
                  ? Result<std::string>(not_found("the artifact of the version was collected"))
                  : read_products(task.model().path(), digest);
  if (text.is_ok()) return *std::move(text);
  if (context.accelerator != nullptr && context.comm.rank() == 0) {
    log_warning("replay", "without the table of matrix products of the training, the node's own is used: " +
                              text.status().message());
  }
  return std::nullopt;
}

Result<v1::ReplayReport> report_of(const v1::ReplayTask& task, const Training& training,
                                   const v1::NumericsFingerprint& platform, const std::vector<float>& replayed) {
  v1::ReplayReport report;
  report.set_version(task.version());
  report.set_other_start(task.other_start());
  report.set_weights_digest(task.expected().weights_digest());
  report.set_replayed_weights_digest(weights_digest(training.tensors(), replayed.data()));
  report.set_is_equal(report.weights_digest() == report.replayed_weights_digest());
  *report.mutable_numerics() = task.expected().numerics();
  ASSIGN_OR_RETURN(*report.mutable_replayed_numerics(), numerics_fingerprint(platform));
  report.set_is_same_numerics(message_digest(report.numerics()) == message_digest(report.replayed_numerics()));
  if (!report.is_equal()) compare(task, training, replayed, &report);
  return report;
}

}  // namespace

std::vector<v1::TensorDifference> tensor_differences(const std::vector<TensorView>& tensors,
                                                     const std::vector<float>& recorded,
                                                     const std::vector<float>& replayed) {
  std::vector<v1::TensorDifference> differences;
  for (const auto& tensor : tensors) {
    uint64_t different = 0;
    double absolute = 0, relative = 0;
    for (size_t i = tensor.offset; i < tensor.offset + tensor.size; ++i) {
      if (std::bit_cast<uint32_t>(recorded[i]) == std::bit_cast<uint32_t>(replayed[i])) continue;
      ++different;
      const double a = recorded[i], b = replayed[i];
      const bool are_finite = std::isfinite(a) && std::isfinite(b);
      const double apart = are_finite ? std::abs(a - b) : std::numeric_limits<double>::infinity();
      absolute = std::max(absolute, apart);
      // Two zeros of different signs are not apart.
      if (apart > 0) relative = std::max(relative, are_finite ? apart / std::max(std::abs(a), std::abs(b)) : apart);
    }
    if (different == 0) continue;
    v1::TensorDifference& difference = differences.emplace_back();
    difference.set_name(tensor.name);
    difference.set_elements(tensor.size);
    difference.set_different(different);
    difference.set_largest_absolute(absolute);
    difference.set_largest_relative(relative);
  }
  return differences;
}

Status run_replay(const TaskContext& context) {
  const v1::ReplayTask& task = context.attempt.replay();
  v1::AttemptSpec attempt = context.attempt;
  *attempt.mutable_train() = task.train();  // the oneof's other task: now it is a training like any
  ReplayReporter reporter(&context.reporter);
  const TaskContext training_context{attempt, context.comm, reporter, context.threads, context.accelerator};
  const auto& skipped = task.expected().skipped_steps();
  return train_model(
      training_context, {{skipped.begin(), skipped.end()}, recorded_products(context)},
      [&](const Training& training, const TrainedWeights& weights, const v1::CheckpointInfo& checkpoint) -> Status {
        ASSIGN_OR_RETURN(auto report, report_of(task, training, checkpoint.numerics(), weights.parameters));
        if (task.keep_model()) RETURN_IF_ERROR(keep_model(training_context, training, weights, checkpoint));
        return write_report(training_context, report);
      });
}

}  // namespace freshet::worker
