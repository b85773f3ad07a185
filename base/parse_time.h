// Times as people write them, to a Time. Pure; any thread.
#pragma once

#include <string_view>

#include "base/status.h"
#include "base/time.h"

namespace freshet {

// ISO 8601: "2026-11-01", "2026-11-01T12:00", "2026-11-01 12:00:30.5", each also with "Z" or "+01:00" behind it;
// without a zone it is UTC, a date alone is its first moment. Or counted back from `now`: "now", "90s ago", "2h ago",
// "1d ago". kInvalidArgument says which forms there are.
Result<Time> parse_time(std::string_view text, Time now);

}  // namespace freshet
