#include "daemon/config.h"

#include <cstdlib>
#include <thread>

namespace freshet {
namespace {

Status bound(const char* name, uint32_t value, uint32_t least, uint32_t most) {
  if (value >= least && value <= most) return Status::ok();
  return invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be from " +
                          std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace

Result<std::string> default_data_dir() {
  if (const char* dir = std::getenv("FRESHET_DATA_DIR"); dir != nullptr && *dir != '\0') return std::string(dir);
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return std::string(home) + "/.freshet";
  return invalid_argument("there is no home directory to keep data in; give --data-dir or set FRESHET_DATA_DIR");
}

Status complete_config(v1::DaemonConfig* config) {
  if (config->data_dir().empty()) {
    ASSIGN_OR_RETURN(*config->mutable_data_dir(), default_data_dir());
  }
  config->set_data_dir(std::filesystem::absolute(config->data_dir()).string());
  if (config->listen().empty()) config->set_listen("127.0.0.1:7070");
  if (config->local_slots() == 0) config->set_local_slots(std::max(1u, std::thread::hardware_concurrency()));
  if (!config->local_products().empty()) {
    if (std::error_code error; !std::filesystem::is_regular_file(config->local_products(), error)) {
      return invalid_argument("local_products: there is no file " + config->local_products() +
                              "; freshet-tune writes one");
    }
    config->set_local_products(std::filesystem::absolute(config->local_products()).string());
  }
  if (config->heartbeat_ms() == 0) config->set_heartbeat_ms(1000);
  if (config->lease_ms() == 0) config->set_lease_ms(15000);
  if (config->gc_interval_s() == 0) config->set_gc_interval_s(3600);
  if (config->gc_grace_s() == 0) config->set_gc_grace_s(86'400);
  if (config->log_level().empty()) config->set_log_level("info");
  if (config->disk_reserve_mb() == 0) config->set_disk_reserve_mb(256);
  RETURN_IF_ERROR(bound("local_slots", config->local_slots(), 1, 4096));
  RETURN_IF_ERROR(bound("heartbeat_ms", config->heartbeat_ms(), 50, 60000));
  RETURN_IF_ERROR(bound("lease_ms", config->lease_ms(), 2 * config->heartbeat_ms(), 3600000));
  // The least is what the store needs to open again after the disk was full.
  RETURN_IF_ERROR(bound("disk_reserve_mb", config->disk_reserve_mb(), 64, 1 << 20));
  RETURN_IF_ERROR(bound("gc_interval_s", config->gc_interval_s(), 1, 86'400 * 7));
  RETURN_IF_ERROR(bound("gc_grace_s", config->gc_grace_s(), 1, 86'400 * 365));
  const std::string& level = config->log_level();
  if (level != "debug" && level != "info" && level != "warning" && level != "error") {
    return invalid_argument("log_level is '" + level + "'; it must be debug, info, warning or error");
  }
  return Status::ok();
}

}  // namespace freshet
