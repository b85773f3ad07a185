#include "worker/gpu/gpu_accelerator.h"

#include <cstdlib>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/float8.h"
#include "kernels/cuda/products.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/gpu/device_step.h"
#include "worker/gpu/gpt_device_objective.h"
#include "worker/gpu/gpt_device_products.h"
#include "worker/gpu/gpt_device_scorer.h"
#include "worker/gpu/local_device.h"
#include "worker/gpu/staged_communicator.h"
#include "worker/gpu/tabular_device_objective.h"

namespace freshet::worker {
namespace {

// Why the CPU has to do it; empty: it has not.
std::string reason_against(const GptModel& model, const GptDeviceShape& shape, const GptDeviceOptions& options) {
  if (model.config().compute == GptConfig::Compute::kFloat32) {
    return "its recipe computes in FLOAT32; with gpt.compute BFLOAT16 or FLOAT8 a GPU does it";
  }
  const auto plan = plan_gpt_device(model.config(), shape, options);
  return plan.is_ok() ? std::string() : plan.status().message();
}

// Kernels are machine code for capabilities 8.x and 9.0. Elsewhere, or where it is told to, the driver compiles them,
// and decides on bits.
bool is_compiled_by_driver(const cuda::DeviceProperties& device) {
  return device.major > 9 || (device.major == 9 && device.minor > 0) || std::getenv("CUDA_FORCE_PTX_JIT") != nullptr;
}

std::string driver() {
  const auto version = read_file("/sys/module/nvidia/version");
  return "NVIDIA driver " + (version.is_ok() ? version->substr(0, version->find('\n')) : "unknown");
}

// By the capability kernels are chosen, by the number of multiprocessors, which a partition of a GPU (MIG, MPS) has
// fewer of, the library's algorithms.
std::string device_text(const cuda::DeviceProperties& device) {
  return device.name + " (" + std::to_string(device.major) + '.' + std::to_string(device.minor) + ", " +
         std::to_string(device.multiprocessors) + " multiprocessors)";
}

v1::NumericsFingerprint numerics_of(const cuda::DeviceProperties& device) {
  v1::NumericsFingerprint numerics = platform_fingerprint();
  numerics.set_device(device_text(device));
  numerics.add_libraries(cuda::Products::library());
  if (is_compiled_by_driver(device)) numerics.add_libraries(driver());
  return numerics;
}

}  // namespace

Result<std::unique_ptr<GpuAccelerator>> GpuAccelerator::create(int local_rank, int local_ranks, Connect connect,
                                                               std::filesystem::path products) {
  const int devices = cuda::device_count();
  if (devices == 0) return std::unique_ptr<GpuAccelerator>();
  const bool is_shared = local_ranks > devices;
  ASSIGN_OR_RETURN(int device,
                   use_local_device(local_rank, local_ranks, is_shared ? DeviceSharing::kAny : DeviceSharing::kNone));
  ASSIGN_OR_RETURN(const auto properties, cuda::device_properties());
  return std::unique_ptr<GpuAccelerator>(new GpuAccelerator(device, properties.name, cuda::has_float8(properties),
                                                            numerics_of(properties), is_shared, std::move(connect),
                                                            std::move(products)));
}

v1::NumericsFingerprint GpuAccelerator::numerics() const {
  v1::NumericsFingerprint numerics = numerics_;
  if (!used_products_.empty()) numerics.set_products(Sha256::hex_of(used_products_));
  return numerics;
}

Status GpuAccelerator::use_products(std::optional<std::string> text) {
  given_products_.reset();
  if (text && !text->empty()) {
    ASSIGN_OR_RETURN(const auto table, cuda::ProductTable::of_text(*text));
    RETURN_IF_ERROR(table.check_made_for(device_name_, cuda::Products::library()));
  }
  given_products_ = std::move(text);
  return Status::ok();
}

Result<std::string> GpuAccelerator::products_of_rank() const {
  if (given_products_) return *given_products_;
  if (node_products_.empty()) return std::string();
  ASSIGN_OR_RETURN(std::string text, read_file(node_products_));
  RETURN_IF_ERROR(cuda::ProductTable::of_text(text).status().with_context(node_products_.string()));
  return text;
}

Result<cuda::ProductTable> GpuAccelerator::share_products(Communicator* comm,
                                                          const std::vector<cuda::ProductShape>& shapes) {
  used_products_.clear();
  Result<std::string> text = comm->rank() == 0 ? products_of_rank() : std::string();
  RETURN_IF_ERROR(comm->agree(text.status()));
  uint64_t size = text->size();
  RETURN_IF_ERROR(comm->broadcast(bytes_of(std::span(&size, 1))));
  text->resize(size);
  RETURN_IF_ERROR(comm->broadcast(bytes_of(std::span(*text))));
  if (text->empty()) return cuda::ProductTable{};
  ASSIGN_OR_RETURN(const auto table, cuda::ProductTable::of_text(*text));
  ASSIGN_OR_RETURN(auto part, table.only(shapes));
  used_products_ = part.to_text();
  return part;
}

Result<DeviceCommunicator*> GpuAccelerator::devices_of(Communicator* comm) {
  if (comm->size() == 1) {
    own_ = std::make_unique<SingleDeviceCommunicator>();
    return own_.get();
  }
  // All ranks must decide alike: those of another machine may share where these do not.
  const bool connects = comm->agree(is_shared_ || !connect_ ? unavailable("through the host") : Status::ok()).is_ok();
  if (connects) return connect_(comm);
  own_ = std::make_unique<StagedDeviceCommunicator>(comm);
  return own_.get();
}

Result<std::unique_ptr<StepEngine>> GpuAccelerator::gpt_engine(const GptModel& model, const std::vector<Token>& tokens,
                                                               const TrainOptions& options, Communicator* comm,
                                                               std::span<const float> parameters) {
  const GptDeviceShape shape{options.micro_batch_rows, model.config().context};
  GptDeviceOptions on_device;
  on_device.float8 = model.config().compute == GptConfig::Compute::kFloat8;
  if (const std::string reason = reason_against(model, shape, on_device); !reason.empty()) {
    log_info("train", "the gpt is trained on the CPU: " + reason);
    return std::unique_ptr<StepEngine>();
  }
  if (on_device.float8 && !comm->agree(has_float8_ ? Status::ok() : unavailable(device_name_)).is_ok()) {
    log_info("train",
             "a GPU of the gang has no 8-bit products (compute capability 8.9): the gpt is trained in BFLOAT16");
    on_device.float8 = false;
  }
  RETURN_IF_ERROR(cuda::use_device(device_));
  ASSIGN_OR_RETURN(const auto plan, plan_gpt_device(model.config(), shape, on_device));
  ASSIGN_OR_RETURN(const auto products, share_products(comm, gpt_device_products(model.config(), plan)));
  ASSIGN_OR_RETURN(DeviceCommunicator * devices, devices_of(comm));
  auto make = [&]() -> Result<std::unique_ptr<StepEngine>> {
    objective_.reset();  // frees what an earlier one holds
    ASSIGN_OR_RETURN(objective_, GptDeviceObjective::create(model, tokens, shape, options.seed, on_device, products));
    ASSIGN_OR_RETURN(auto step, DeviceStep::create(objective_.get(), options, {comm, devices}, parameters));
    return std::unique_ptr<StepEngine>(std::move(step));
  };
  auto engine = make();
  // Layers may be computed twice where they can't be kept: the bits are the same.
  const bool fits = engine.is_ok() || engine.status().code() != Code::kResourceExhausted;
  if (!comm->agree(fits ? Status::ok() : engine.status()).is_ok()) {
    log_info("train", "the activations do not fit the GPU: layers are computed again in the backward pass");
    on_device.recompute = Recompute::kLayers;
    engine = internal("not made yet");  // its objective goes next
    engine = make();
  }
  return engine;
}

bool GpuAccelerator::scores(const GptModel& model) const {
  std::string reason;
  if (model.config().compute == GptConfig::Compute::kFloat32) {
    reason = "its recipe computes in FLOAT32";
  } else {
    reason = plan_gpt_scoring(model.config()).status().message();
  }
  if (!reason.empty()) log_info("task", "the gpt is scored on the CPU: " + reason);
  return reason.empty();
}

Result<cuda::ProductTable> GpuAccelerator::listed_products(const std::vector<cuda::ProductShape>& shapes) const {
  if (node_products_.empty()) return cuda::ProductTable{};
  ASSIGN_OR_RETURN(const std::string text, read_file(node_products_));
  ASSIGN_OR_RETURN(const auto table, cuda::ProductTable::of_text(text).with_context(node_products_.string()));
  const std::string others = ", so scoring goes by the library's first proposals";
  if (const Status fits = table.check_made_for(device_name_, cuda::Products::library()); !fits.is_ok()) {
    log_info("task", node_products_.string() + ": " + fits.message() + others);
    return cuda::ProductTable{};
  }
  cuda::ProductTable listed{{}, table.device, table.library};
  for (const auto& shape : shapes) {
    if (auto entry = table.find(shape); entry.is_ok()) listed.entries.push_back(*std::move(entry));
  }
  if (const size_t missing = shapes.size() - listed.entries.size(); missing > 0) {
    log_info("task", node_products_.string() + " lacks " + std::to_string(missing) + " of the " +
                         std::to_string(shapes.size()) + " matrix products of scoring" + others + " for them");
  }
  return listed;
}

Result<std::unique_ptr<TextScorer>> GpuAccelerator::text_scorer(const GptModel& model,
                                                                std::span<const float> parameters) {
  RETURN_IF_ERROR(cuda::use_device(device_));
  ASSIGN_OR_RETURN(const auto plan, plan_gpt_scoring(model.config()));
  ASSIGN_OR_RETURN(const auto products, listed_products(gpt_device_products(model.config(), plan)));
  used_products_ = products.entries.empty() ? std::string() : products.to_text();
  ASSIGN_OR_RETURN(auto scorer, GptDeviceScorer::create(model, plan.shape, parameters, products));
  return std::unique_ptr<TextScorer>(std::move(scorer));
}

Result<std::unique_ptr<StepEngine>> GpuAccelerator::tabular_engine(const TabularModel& model, const EncodedRows& rows,
                                                                   const TrainOptions& options, Communicator* comm,
                                                                   std::span<const float> parameters) {
  if (const Status takes = TabularDeviceObjective::check(model, options); !takes.is_ok()) {
    log_info("train", "the tabular model is trained on the CPU: " + takes.message());
    return std::unique_ptr<StepEngine>();
  }
  RETURN_IF_ERROR(cuda::use_device(device_));
  ASSIGN_OR_RETURN(const auto products,
                   share_products(comm, TabularDevice::products_of(model, options.micro_batch_rows)));
  ASSIGN_OR_RETURN(DeviceCommunicator * devices, devices_of(comm));
  objective_.reset();  // frees what an earlier one holds
  ASSIGN_OR_RETURN(objective_, TabularDeviceObjective::create(
                                   model, rows, options, options.embeddings.value_or(kernels::RowwiseAdagradStep{}),
                                   products, devices));
  ASSIGN_OR_RETURN(auto step, DeviceStep::create(objective_.get(), options, {comm, devices}, parameters));
  return std::unique_ptr<StepEngine>(std::move(step));
}

}  // namespace freshet::worker
