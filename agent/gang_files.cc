#include "agent/gang_files.h"

#include "base/file.h"
#include "proto/json.h"

namespace freshet::agent {

Status read_message(const std::filesystem::path& path, google::protobuf::MessageLite* message) {
  ASSIGN_OR_RETURN(std::string bytes, read_file(path));
  if (!message->ParseFromString(bytes)) return corrupt(path.string() + " is not a " + message->GetTypeName());
  return Status::ok();
}

Status write_message(const std::filesystem::path& path, const google::protobuf::MessageLite& message) {
  return write_file_durably(path, message.SerializeAsString(), 0600);
}

v1::Process to_proto(const ProcessId& process, uint32_t rank) {
  v1::Process proto;
  proto.set_rank(rank);
  proto.set_pid(process.pid);
  proto.set_start_ticks(process.start_ticks);
  proto.set_boot_id(process.boot_id);
  proto.set_cgroup(process.cgroup);
  return proto;
}

Status write_process(const std::filesystem::path& path, const ProcessId& process) {
  return write_file_durably(path, to_json(to_proto(process, 0)) + "\n");
}

Result<std::optional<ProcessId>> read_process(const std::filesystem::path& path) {
  auto text = read_file(path);
  if (text.status().code() == Code::kNotFound) return std::optional<ProcessId>();
  RETURN_IF_ERROR(text.status());
  v1::Process proto;
  RETURN_IF_ERROR(from_json(*text, &proto).with_context(path.string()));
  return std::optional<ProcessId>(
      ProcessId{static_cast<pid_t>(proto.pid()), proto.start_ticks(), proto.boot_id(), proto.cgroup()});
}

std::string describe(const v1::WorkRef& work, uint64_t epoch) {
  std::string text = work.inspection_id().empty() ? "run " + work.run_id() + " step " + work.step()
                                                  : "inspection " + work.inspection_id();
  return text + " epoch " + std::to_string(epoch);
}

std::string work_key(const v1::WorkRef& work) {
  return work.project() + '\n' + work.run_id() + '\n' + work.step() + '\n' + work.inspection_id();
}

}  // namespace freshet::agent
