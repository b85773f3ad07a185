#include "tests/house/layers.h"

namespace freshet::house {

const std::vector<Layer>& layers() {
  static const std::vector<Layer> kLayers = {
      {"base/", {"base/"}, "base knows nothing of the product"},
      {"proto/", {"proto/", "base/"}, "the schema is below every part"},
      {"scheduler/",
       {"scheduler/", "base/", "proto/*.pb.h"},
       "the scheduler sees base and the generated messages only"},
      {"net/", {"net/", "proto/", "base/"}, "net is shared by agent, daemon and cli"},
      {"kernels/", {"kernels/", "base/"}, "kernels know CUDA and base only"},
      {"worker/", {"worker/", "kernels/", "proto/", "base/"}, "daemon, agent and worker meet in proto only"},
      {"agent/", {"agent/", "net/", "proto/", "base/"}, "daemon, agent and worker meet in proto only"},
      {"cli/", {"cli/", "net/", "proto/", "base/"}, "the command line speaks to the daemon through the API only"},
      {"daemon/", {"daemon/app.h", "daemon/config.h", "proto/", "base/"}, "only app.cc names concrete classes"},
      {"daemon/config", {"daemon/config.h", "proto/", "base/"}, "only app.cc names concrete classes"},
      {"daemon/main",
       {"daemon/app.h", "daemon/config.h", "daemon/offline.h", "proto/", "base/"},
       "only app.cc names concrete classes"},
      {"daemon/backup_jobs",
       {"daemon/backup_jobs.h", "daemon/control/backups.h", "daemon/store/", "proto/", "base/"},
       "it makes backups of the store and nothing else"},
      {"daemon/offline",
       {"daemon/offline.h", "daemon/control/restore_fence.h", "daemon/store/", "proto/", "base/"},
       "what runs without a daemon needs the store and nothing that serves"},
      {"daemon/app",
       {"daemon/", "scheduler/", "net/", "proto/", "base/"},
       "daemon, agent and worker meet in proto only"},
      {"daemon/prometheus_metrics",
       {"daemon/prometheus_metrics.h", "daemon/control/context.h", "daemon/control/control_metrics.h",
        "daemon/http/http_metrics.h", "proto/", "base/"},
       "it implements the metrics interfaces of control and http and sees nothing else"},
      {"daemon/store/", {"daemon/store/", "proto/", "base/"}, "the store knows records, not what is done with them"},
      {"daemon/sources/",
       {"daemon/sources/", "daemon/async/", "proto/", "base/"},
       "a source observes and decides nothing"},
      {"daemon/providers/",
       {"daemon/providers/", "daemon/async/", "daemon/control/log_reader.h", "proto/", "base/"},
       "a provider only starts, lists and stops agents"},
      {"daemon/webhooks/",
       {"daemon/webhooks/", "daemon/async/", "daemon/control/webhook_sender.h", "net/", "proto/", "base/"},
       "the sender delivers what control decided on"},
      {"daemon/async/",
       {"daemon/async/", "daemon/control/reconciler.h", "base/"},
       "async runs loops that it does not know"},
      {"daemon/http/",
       {"daemon/http/", "daemon/async/", "daemon/control/agent_link.h", "net/", "proto/", "base/"},
       "transport is apart from what the handlers do"},
      {"daemon/control/",
       {"daemon/control/", "daemon/store/store.h", "daemon/store/keys.h", "daemon/store/tables.h",
        "daemon/store/artifact_store.h", "daemon/store/audit.h", "daemon/store/disk.h", "daemon/store/read_set.h",
        "daemon/sources/source.h", "daemon/providers/provider.h", "scheduler/", "proto/", "base/"},
       "control sees the world through interfaces; only app.cc names concrete classes"},
      {"daemon/api/",
       {"daemon/api/", "daemon/control/", "daemon/http/principal.h", "daemon/http/request.h", "daemon/http/router.h",
        "daemon/http/json_handler.h", "daemon/http/websocket_session.h", "scheduler/", "proto/", "base/"},
       "a handler calls control and has no store and no transport"},
      {"tests/",
       {"tests/", "base/", "proto/", "scheduler/", "net/", "kernels/", "worker/", "agent/", "cli/", "daemon/"},
       "includes are written from the repository's root"},
      {"bench/",
       {"bench/", "tests/support/", "base/", "proto/", "scheduler/", "net/", "kernels/", "worker/", "agent/",
        "daemon/"},
       "includes are written from the repository's root"},
  };
  return kLayers;
}

const std::vector<Library>& libraries() {
  static const std::vector<Library> kLibraries = {
      {"boost/",
       {"net/", "agent/", "cli/", "daemon/http/", "daemon/async/", "daemon/sources/", "daemon/providers/", "daemon/app",
        "tests/", "bench/"}},
      {"boost/context/", {"kernels/cuda/emulated/", "tests/", "bench/"}},
      {"boost/crc.hpp", {"daemon/store/", "tests/", "bench/"}},
      {"boost/json", {"proto/", "net/", "agent/", "cli/", "worker/", "daemon/http/", "daemon/app", "tests/", "bench/"}},
      {"rocksdb/", {"daemon/store/", "tests/", "bench/"}},
      {"git2", {"daemon/sources/", "tests/"}},
      {"prometheus/", {"daemon/prometheus_metrics", "daemon/app", "tests/"}},
      {"prometheus/metric_family.h",
       {"daemon/control/", "daemon/prometheus_metrics", "daemon/app", "tests/"}},  // plain data
      {"google/protobuf/",
       {"proto/", "scheduler/", "net/", "worker/", "agent/", "cli/", "daemon/", "tests/", "bench/"}},
      {"yaml-cpp/", {"proto/", "tests/"}},
      {"openssl/", {"base/", "tests/"}},
      {"arrow/", {"worker/", "tests/", "bench/"}},
      {"parquet/", {"worker/", "tests/", "bench/"}},
      {"unicode/", {"worker/text/", "tests/"}},
      {"mpi.h", {"worker/", "tests/", "bench/"}},
      {"nccl.h", {"worker/", "tests/", "bench/"}},
      {"cuda", {"kernels/", "worker/", "tests/", "bench/"}},
      {"cublas", {"kernels/", "worker/", "tests/", "bench/"}},
      {"onnx/", {"worker/formats/", "tests/"}},
      {"dnnl", {"kernels/", "worker/", "tests/", "bench/"}},
      {"oneapi/", {"kernels/", "worker/", "tests/", "bench/"}},
      {"CLI/", {"cli/", "agent/", "worker/", "daemon/", "tests/", "bench/"}},
      {"gtest/", {"tests/"}},
      {"gmock/", {"tests/"}},
      {"benchmark/", {"bench/", "tests/"}},
  };
  return kLibraries;
}

const std::vector<std::string_view>& pure_folders() {
  static const std::vector<std::string_view> kFolders = {"scheduler/", "daemon/control/", "daemon/api/"};
  return kFolders;
}

namespace {
constexpr std::string_view kClock = "a clock: the time is an argument, or comes from the Clock interface";
constexpr std::string_view kRandom = "a source of randomness: use Philox, or the Random interface";
constexpr std::string_view kThread = "a thread: loops and handlers are synchronous, so that the simulator can run them";
constexpr std::string_view kSleep = "a sleep: return when to be woken instead";
constexpr std::string_view kSocket = "a socket or event loop: use an interface";
constexpr std::string_view kFile = "a file or directory call: use an interface";
constexpr std::string_view kProcess = "a process or its environment: use an interface";
constexpr std::string_view kOrder = "a container whose order is not defined: use std::map, std::set or a sorted vector";
constexpr std::string_view kConcrete = "a concrete class: use its interface; only app.cc names it";
}  // namespace

const std::vector<Forbidden>& impure_headers() {
  static const std::vector<Forbidden> kHeaders = {
      {"chrono", kClock},
      {"ctime", kClock},
      {"time.h", kClock},
      {"random", kRandom},
      {"thread", kThread},
      {"future", kThread},
      {"condition_variable", kThread},
      {"semaphore", kThread},
      {"latch", kThread},
      {"barrier", kThread},
      {"stop_token", kThread},
      {"coroutine", kThread},
      {"pthread.h", kThread},
      {"boost/", kSocket},
      {"sys/", kSocket},
      {"netinet/", kSocket},
      {"arpa/", kSocket},
      {"net/", kSocket},
      {"netdb.h", kSocket},
      {"poll.h", kSocket},
      {"fstream", kFile},
      {"iostream", kFile},
      {"fcntl.h", kFile},
      {"dirent.h", kFile},
      {"base/file.h", kFile},
      {"base/metric_ring.h", kFile},
      {"unistd.h", kProcess},
      {"csignal", kProcess},
      {"signal.h", kProcess},
      {"spawn.h", kProcess},
      {"base/process.h", kProcess},
      {"unordered_map", kOrder},
      {"unordered_set", kOrder},
  };
  return kHeaders;
}

const std::vector<Forbidden>& impure_words() {
  static const std::vector<Forbidden> kWords = {
      {"std::chrono", kClock},
      {"clock_gettime", kClock},
      {"gettimeofday", kClock},
      {"std::time", kClock},
      {"::time(", kClock},
      {"time(nullptr)", kClock},
      {"std::clock", kClock},
      {"localtime_r", kClock},
      {"gmtime_r", kClock},
      {"SystemClock", kClock},
      {"std::random_device", kRandom},
      {"std::rand", kRandom},
      {"rand()", kRandom},
      {"getrandom", kRandom},
      {"SystemRandom", kRandom},
      {"std::thread", kThread},
      {"std::jthread", kThread},
      {"std::async", kThread},
      {"std::this_thread", kThread},
      {"pthread_create", kThread},
      {"co_await", kThread},
      {"sleep", kSleep},
      {"usleep", kSleep},
      {"nanosleep", kSleep},
      {"sleep_for", kSleep},
      {"sleep_until", kSleep},
      {"boost::", kSocket},
      {"socket(", kSocket},
      {"sockaddr", kSocket},
      {"getaddrinfo", kSocket},
      {"epoll_wait", kSocket},
      {"poll(", kSocket},
      {"fopen", kFile},
      {"freopen", kFile},
      {"std::ifstream", kFile},
      {"std::ofstream", kFile},
      {"std::fstream", kFile},
      {"std::remove(", kFile},
      {"std::rename(", kFile},
      {"::open(", kFile},
      {"openat", kFile},
      {"opendir", kFile},
      {"mkdir", kFile},
      {"unlink", kFile},
      {"fsync", kFile},
      {"::stat(", kFile},
      {"std::filesystem", kFile},
      {"std::cout", kFile},
      {"std::cerr", kFile},
      {"printf(", kFile},
      {"fork()", kProcess},
      {"vfork", kProcess},
      {"posix_spawn", kProcess},
      {"execv", kProcess},
      {"execve", kProcess},
      {"popen", kProcess},
      {"std::system", kProcess},
      {"getenv", kProcess},
      {"setenv", kProcess},
      {"getpid", kProcess},
      {"std::unordered_map", kOrder},
      {"std::unordered_set", kOrder},
      {"std::unordered_multimap", kOrder},
      {"std::unordered_multiset", kOrder},
      {"LocalArtifactStore", kConcrete},
      {"RocksKv", kConcrete},
      {"MemoryKv", kConcrete},
  };
  return kWords;
}

const std::vector<std::string_view>& pure_words() {
  static const std::vector<std::string_view> kWords = {"std::filesystem::path"};  // a name, not a call
  return kWords;
}

}  // namespace freshet::house
