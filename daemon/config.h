// The daemon's configuration: defaults, then the file, then flags. What holds in the end is printed at the start.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "proto/config.pb.h"

namespace freshet {

// $FRESHET_DATA_DIR, else $HOME/.freshet.
Result<std::string> default_data_dir();

// Fills every field that is not set. invalid_argument for a value out of bounds, saying which bounds.
Status complete_config(v1::DaemonConfig* config);

}  // namespace freshet
