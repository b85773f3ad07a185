// Which planted bug is awake: the one that the environment variable FRESHET_PLANTED names. The patches of this folder
// are applied to copies of production sources, which see this header; the sources themselves know nothing of it.
#pragma once

#include <string_view>

bool planted(std::string_view name);
