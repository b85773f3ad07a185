// The numerics fingerprint of this process: everything that can change the bits of a training on this machine.
#pragma once

#include "base/status.h"
#include "proto/artifact.pb.h"

namespace freshet::worker {

// engine_build is the digest of the running program, read from disk; the rest is asked of the libraries.
Result<v1::NumericsFingerprint> numerics_fingerprint();
// Without engine_build: what two programs must share to give the same bits for the same code.
v1::NumericsFingerprint platform_fingerprint();

}  // namespace freshet::worker
