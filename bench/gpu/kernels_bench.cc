// Times the operations of kernels/cuda for bench/gpu/main.py: each line of the standard input is the name of a group,
// answered with a line of JSON that has the median time of each of its cases. Before each run the L2 cache is filled
// with something else; arrays are made once, when their group is first asked for.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/gpu/kernel_cases.h"

namespace freshet::cuda {
namespace {

class Bench {
 public:
  static Result<Bench> create(bool tiny, bool safe) {
    if (device_count() == 0) return unavailable("there is no CUDA device");
    RETURN_IF_ERROR(use_device(0));
    Sizes sizes;
    if (tiny) sizes = {2, 32, 2, 64, 203, 16, 5003, 1 << 16, 64};
    sizes.safe = safe;
    ASSIGN_OR_RETURN(const auto properties, device_properties());
    ASSIGN_OR_RETURN(auto stream, Stream::create());
    ASSIGN_OR_RETURN(auto other,
                     DeviceMemory::allocate(tiny ? 4096 : std::max(4 * properties.l2_bytes, size_t{1} << 28)));
    Bench bench(std::move(stream), std::move(other), tiny ? 2 : 10);
    for (auto* make : {memory_bound_cases, attention_cases, product_cases}) {
      for (auto& each : make(sizes)) bench.cases_.push_back({std::move(each), {}, {}, {}});
    }
    std::cout << "{\"version\": \"" << FRESHET_VERSION << "\", \"device\": \"" << properties.name << "\"}" << std::endl;
    return bench;
  }

  void serve() {
    std::string group;
    while (std::getline(std::cin, group)) {
      std::string results;
      for (auto& each : cases_) {
        if (each.kernel.group == group) results += (results.empty() ? "" : ", ") + run(&each);
      }
      std::cout << "{\"results\": [" << results << "]}" << std::endl;
    }
  }

 private:
  struct Prepared {
    KernelCase kernel;
    Arrays arrays;
    Launch launch;
    std::optional<Status> failure;  // for good
  };

  Bench(Stream stream, DeviceMemory other, int repeats)
      : stream_(std::move(stream)), other_(std::move(other)), repeats_(repeats) {}

  Status prepare(Prepared* each) {
    if (each->launch) return Status::ok();
    ASSIGN_OR_RETURN(each->launch, each->kernel.prepare(&each->arrays));
    RETURN_IF_ERROR(each->launch(stream_.get()));
    return each->arrays.check_outputs(stream_.get());
  }

  Result<double> median_microseconds(const Launch& launch) {
    std::vector<std::pair<Event, Event>> times;
    for (int i = 0; i < repeats_; ++i) {
      ASSIGN_OR_RETURN(auto begin, Event::create(true));
      ASSIGN_OR_RETURN(auto end, Event::create(true));
      RETURN_IF_ERROR(fill_bytes(other_.data(), static_cast<uint8_t>(i), other_.bytes(), stream_.get()));
      RETURN_IF_ERROR(begin.record(stream_.get()));
      RETURN_IF_ERROR(launch(stream_.get()));
      RETURN_IF_ERROR(end.record(stream_.get()));
      times.emplace_back(std::move(begin), std::move(end));
    }
    RETURN_IF_ERROR(stream_.synchronize());
    std::vector<float> milliseconds;
    for (const auto& [begin, end] : times) {
      ASSIGN_OR_RETURN(const float each, end.milliseconds_since(begin));
      milliseconds.push_back(each);
    }
    std::sort(milliseconds.begin(), milliseconds.end());
    return 1e3 * static_cast<double>(milliseconds[milliseconds.size() / 2]);
  }

  std::string run(Prepared* each) {
    char numbers[128];
    std::string text = "{\"name\": \"" + each->kernel.name + "\", \"shape\": \"" + each->kernel.shape + "\", ";
    if (!each->failure) {
      const Status status = prepare(each);
      if (!status.is_ok()) each->failure = status;
    }
    auto microseconds = each->failure ? Result<double>(*each->failure) : median_microseconds(each->launch);
    if (!microseconds.is_ok()) return text + "\"error\": \"" + escaped(microseconds.status().message()) + "\"}";
    std::snprintf(numbers, sizeof numbers, "\"microseconds\": %.4g, \"bytes\": %.12g, \"operations\": %.12g}",
                  *microseconds, each->kernel.bytes, each->kernel.operations);
    return text + numbers;
  }

  static std::string escaped(const std::string& text) {
    std::string out;
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return out;
  }

  Stream stream_;
  DeviceMemory other_;  // several times the L2 cache
  int repeats_;
  std::list<Prepared> cases_;
};

}  // namespace
}  // namespace freshet::cuda

int main(int argc, char** argv) {
  CLI::App app("Times the operations of kernels/cuda for bench/gpu/run.");
  bool tiny = false, safe = false;
  app.add_flag("--tiny", tiny, "shapes for the emulation");
  app.add_flag("--safe", safe, "without our kernels of wgmma");
  CLI11_PARSE(app, argc, argv);
  auto bench = freshet::cuda::Bench::create(tiny, safe);
  if (bench.is_ok()) {
    bench->serve();
    return 0;
  }
  std::fprintf(stderr, "kernels_bench: %s\n", bench.status().message().c_str());
  return 1;
}
