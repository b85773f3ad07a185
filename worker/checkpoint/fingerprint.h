// The numerics fingerprint of a training in this process: everything that can change its bits on this machine.
#pragma once

#include "base/status.h"
#include "proto/artifact.pb.h"

namespace freshet::worker {

// Without engine_build, of what is computed on the CPU: what two programs must share to give the same bits for the same
// code. An Accelerator tells its own.
v1::NumericsFingerprint platform_fingerprint();
// `platform` with engine_build, the digest of the running program, which is read from disk.
Result<v1::NumericsFingerprint> numerics_fingerprint(v1::NumericsFingerprint platform);

}  // namespace freshet::worker
