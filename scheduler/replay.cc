#include "scheduler/replay.h"

#include <algorithm>
#include <vector>

#include "scheduler/text.h"

namespace freshet::scheduler {
namespace {

constexpr size_t kDigestShown = 12;

std::string shown(const std::string& digest) { return digest.substr(0, kDigestShown); }

std::string shown_or_none(const std::string& digest) { return digest.empty() ? "none" : shown(digest); }

std::vector<std::string> libraries_of(const v1::NumericsFingerprint& numerics) {
  return {numerics.libraries().begin(), numerics.libraries().end()};
}

// "engine build 4f.. instead of 5a.., instruction set avx2 instead of avx512"
std::string other_numerics(const v1::NumericsFingerprint& recorded, const v1::NumericsFingerprint& replayed) {
  std::vector<std::string> parts;
  auto note = [&](const std::string& what, const std::string& now, const std::string& before) {
    if (now != before) parts.push_back(what + " " + now + " instead of " + before);
  };
  note("engine build", shown(replayed.engine_build()), shown(recorded.engine_build()));
  note("instruction set", replayed.instruction_set(), recorded.instruction_set());
  note("libraries", joined(libraries_of(replayed)), joined(libraries_of(recorded)));
  note("device", replayed.device(), recorded.device());
  note("table of products", shown_or_none(replayed.products()), shown_or_none(recorded.products()));
  return joined(parts);
}

std::string difference_of(const v1::ReplayReport& report) {
  if (!report.not_compared().empty()) return "how far they are off can't be said: " + report.not_compared();
  const LargestDifference largest = largest_difference(report);
  return counted(static_cast<uint64_t>(report.differences_size()), "tensor") + " differ by at most " +
         rounded(largest.absolute) + " (relative " + rounded(largest.relative) + ")";
}

}  // namespace

bool is_refuted(const v1::ReplayReport& report) {
  return !report.is_equal() && report.is_same_numerics() && report.other_start().empty();
}

std::string explain_replay(const v1::ReplayReport& report) {
  std::string text = report.is_equal() ? "the same weights bit for bit, " + shown(report.weights_digest())
                                       : "other weights, " + shown(report.replayed_weights_digest()) + " instead of " +
                                             shown(report.weights_digest()) + "; " + difference_of(report);
  if (!report.is_same_numerics()) {
    text += "; by other numerics: " + other_numerics(report.numerics(), report.replayed_numerics());
  }
  if (!report.other_start().empty()) {
    text += "; " + report.other_start() + ", which it started from, was collected and came out differently";
  }
  return text;
}

LargestDifference largest_difference(const v1::ReplayReport& report) {
  LargestDifference largest;
  for (const auto& tensor : report.differences()) {
    largest.absolute = std::max(largest.absolute, tensor.largest_absolute());
    largest.relative = std::max(largest.relative, tensor.largest_relative());
  }
  return largest;
}

}  // namespace freshet::scheduler
