#include "worker/checkpoint/fingerprint.h"

#include <gnu/libc-version.h>

#include "base/file.h"
#include "kernels/linear.h"

namespace freshet::worker {

v1::NumericsFingerprint platform_fingerprint() {
  v1::NumericsFingerprint fingerprint;
  fingerprint.set_instruction_set(kernels::instruction_set());
  fingerprint.add_libraries("glibc " + std::string(gnu_get_libc_version()));
  fingerprint.add_libraries(kernels::linear_library());
  fingerprint.set_device("cpu");
  return fingerprint;
}

Result<v1::NumericsFingerprint> numerics_fingerprint(v1::NumericsFingerprint platform) {
  ASSIGN_OR_RETURN(FileDigest program, digest_file("/proc/self/exe"));
  platform.set_engine_build(program.sha256);
  return platform;
}

}  // namespace freshet::worker
