// freshet-worker: one rank of a gang. It gets its attempt, runs the task and exits: 0 after success, 1 with the reason
// told to the supervisor and on standard error, 2 for a wrong command line. MPI is started only for several ranks.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>

#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/json.h"
#include "worker/comm/mpi.h"
#include "worker/report/console.h"
#include "worker/report/supervisor_link.h"
#include "worker/task/task.h"
#if defined(FRESHET_CUDA)
#include "worker/gpu/gpu_rank.h"
#endif

namespace freshet::worker {
namespace {

constexpr const char* kUsage =
    "usage: freshet-worker --supervisor SOCKET\n"
    "       freshet-worker --attempt FILE --output DIR\n"
    "\n"
    "  --supervisor SOCKET  get the attempt from the gang's supervisor (how an agent starts it)\n"
    "  --attempt FILE       run an AttemptSpec by hand: JSON when FILE ends in .json, else binary protobuf\n"
    "  --output DIR         where outputs of --attempt go, and its checkpoints: started again after it was killed, it\n"
    "                       goes on from the newest one\n"
    "\n"
    "Several ranks: start it under mpirun with as many ranks as the attempt says.\n"
#if defined(FRESHET_CUDA)
    "A model that computes in BFLOAT16 or FLOAT8 is trained on the machine's GPUs, one a rank, and a gpt evaluated on\n"
    "one of them; CUDA_VISIBLE_DEVICES= leaves it on the CPU. FRESHET_PRODUCTS=FILE: its matrix products go by the\n"
    "table that freshet-tune wrote; a training that goes on from a checkpoint, and a replay, go by that training's\n"
    "own.\n"
#endif
    ;

struct Arguments {
  std::string supervisor, attempt, output;
};

bool parse(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i < argc; i += 2) {
    std::string name = argv[i];
    std::string* value = name == "--supervisor" ? &arguments->supervisor
                         : name == "--attempt"  ? &arguments->attempt
                         : name == "--output"   ? &arguments->output
                                                : nullptr;
    if (!value || i + 1 == argc) return false;
    *value = argv[i + 1];
  }
  bool by_hand = !arguments->attempt.empty() && !arguments->output.empty() && arguments->supervisor.empty();
  bool supervised = !arguments->supervisor.empty() && arguments->attempt.empty() && arguments->output.empty();
  return by_hand || supervised;
}

Result<v1::AttemptSpec> read_attempt(const Arguments& arguments) {
  std::filesystem::path path = arguments.attempt;
  ASSIGN_OR_RETURN(std::string bytes, read_file(path));
  v1::AttemptSpec attempt;
  if (path.extension() == ".json") {
    if (Status status = from_json(bytes, &attempt); !status.is_ok()) return status.with_context(path.string());
  } else if (!attempt.ParseFromString(bytes)) {
    return invalid_argument(path.string() + " is not an AttemptSpec in binary protobuf");
  }
  std::error_code error;
  std::filesystem::path output = std::filesystem::absolute(arguments.output, error);
  if (error) return invalid_argument("--output " + arguments.output + ": " + error.message());
  attempt.set_output_dir(output.string());
  if (attempt.checkpoint_dir().empty()) attempt.set_checkpoint_dir((output / "checkpoints").string());
  return attempt;
}

#if defined(FRESHET_CUDA)
// Null where the task can do without one that it can't have: a training may have the GPU for itself, which is no reason
// to fail what the CPU can score, if late.
Result<std::unique_ptr<GpuRank>> start_gpu(const v1::AttemptSpec& attempt, const MpiPlace& place) {
  auto gpu = GpuRank::create(place.local_rank, place.local_size);
  const bool trains = attempt.has_train() || attempt.has_replay();
  if (trains || gpu.status().code() != Code::kUnavailable) return gpu;
  log_warning("task", "text is scored on the CPU, which takes long: " + gpu.status().message());
  return std::unique_ptr<GpuRank>();
}
#endif

Status run_ranks(const v1::AttemptSpec& attempt, Reporter* reporter) {
  MpiPlace place = mpi_place();
  uint32_t wanted = std::max(attempt.ranks(), 1U);
  if (static_cast<uint32_t>(place.size) != wanted) {
    return invalid_argument("the attempt asks for " + std::to_string(wanted) + " ranks, but " +
                            std::to_string(place.size) + " were started");
  }
  unsigned threads = std::max(attempt.threads_per_rank(), 1U);
  SilentReporter silent;
  Reporter& used = place.rank == 0 ? *reporter : silent;
  Accelerator* accelerator = nullptr;
#if defined(FRESHET_CUDA)
  std::unique_ptr<GpuRank> gpu;
  if (may_use_accelerator(attempt)) {
    ASSIGN_OR_RETURN(gpu, start_gpu(attempt, place));
    if (gpu) accelerator = gpu->accelerator();
  }
#endif
  if (place.size == 1) {
    SingleCommunicator comm;
    return run_task({attempt, comm, used, threads, accelerator});
  }
  MpiCommunicator comm(place);
  RETURN_IF_ERROR(run_task({attempt, comm, used, threads, accelerator}));
#if defined(FRESHET_CUDA)
  if (gpu) RETURN_IF_ERROR(gpu->finish());
#endif
  return comm.finish();
}

Status run(const Arguments& arguments) {
  if (arguments.supervisor.empty()) {
    ConsoleReporter reporter;
    ASSIGN_OR_RETURN(v1::AttemptSpec attempt, read_attempt(arguments));
    return run_ranks(attempt, &reporter);
  }
  ASSIGN_OR_RETURN(auto link, SupervisorLink::connect(arguments.supervisor, mpi_place().rank));
  Status status;
  try {
    auto attempt = link->receive_attempt();
    status = attempt.is_ok() ? run_ranks(*attempt, link.get()) : attempt.status();
  } catch (const std::exception& error) {
    status = internal(error.what());
  }
  if (status.is_ok()) return status;
  if (Status told = link->fail(status.message()); !told.is_ok()) {
    std::fprintf(stderr, "freshet-worker: %s\n", told.message().c_str());
  }
  return status;
}

int main_of(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, &arguments)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (Status armed = arm_crash_points_from_environment(); !armed.is_ok()) {
    std::fprintf(stderr, "freshet-worker: %s\n", armed.message().c_str());
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);  // a supervisor that has gone is an error of a write
  Status status;
  try {
    status = run(arguments);
  } catch (const std::exception& error) {
    status = internal(error.what());
  }
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "freshet-worker: %s\n", status.message().c_str());
  // Without MPI's finalisation, which would wait for the other ranks: mpirun ends them when it sees this exit.
  std::fflush(nullptr);
  _exit(1);
}

}  // namespace
}  // namespace freshet::worker

int main(int argc, char** argv) { return freshet::worker::main_of(argc, argv); }
