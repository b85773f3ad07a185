// How numbers and names appear in the sentences that decisions carry: short, and never so short that two different
// numbers that were compared look equal. Independent of the locale. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace freshet::scheduler {

// As few digits as give the number back: a bound that a person wrote reads as it was written.
std::string exact(double value);

// A measured number to four significant digits: "0.5031".
std::string rounded(double value);

// The same with as many more digits as it takes to differ from `other`, unless the two are equal.
std::string rounded_against(double value, double other);

// "1 slot", "3 slots".
std::string counted(unsigned long long count, std::string_view noun);

// "a, b, c".
std::string joined(const std::vector<std::string>& parts, std::string_view separator = ", ");

}  // namespace freshet::scheduler
