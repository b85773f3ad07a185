// The version that every program of Freshet reports.
#pragma once

namespace freshet {

inline constexpr char kVersion[] = FRESHET_VERSION;

}  // namespace freshet
