// NCCL itself, the shared library that the program is linked with. Only with the preset cuda; a library of its own
// (freshet_worker_nccl), so that programs of one GPU don't need it.
#pragma once

#include "worker/gpu/nccl_library.h"

namespace freshet::worker {

// One for the process; any thread.
NcclLibrary* linked_nccl();

}  // namespace freshet::worker
