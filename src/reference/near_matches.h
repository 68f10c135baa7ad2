// "Did you mean …": the names nearest to a mistyped one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nixery::reference {

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). limit + 1 means more than
// `limit`.
unsigned edit_distance(std::string_view a, std::string_view b, unsigned limit);

// At most `count` of `names`: nearest first, then by length, then alphabetically. Ignores case.
std::vector<std::string> near_matches(std::string_view wanted, const std::vector<std::string>& names,
                                      std::size_t count = 3);

}  // namespace nixery::reference
