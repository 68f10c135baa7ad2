#include "reference/near_matches.h"

#include <algorithm>
#include <tuple>

#include "text/ascii.h"

namespace nixery::reference {

unsigned edit_distance(std::string_view a, std::string_view b, unsigned limit) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > limit) return limit + 1;
  const std::size_t width = a.size() + 1;
  std::vector<unsigned> before(width), above(width), row(width);  // two rows back, one row back, this one
  for (std::size_t i = 0; i < width; ++i) above[i] = static_cast<unsigned>(i);
  for (std::size_t j = 1; j <= b.size(); ++j) {
    row[0] = static_cast<unsigned>(j);
    unsigned best = row[0];
    for (std::size_t i = 1; i < width; ++i) {
      const unsigned replace = above[i - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[i] = std::min({replace, above[i] + 1, row[i - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[i] = std::min(row[i], before[i - 2] + 1);
      best = std::min(best, row[i]);
    }
    if (best > limit) return limit + 1;
    std::swap(before, above);
    std::swap(above, row);
  }
  return std::min(above[width - 1], limit + 1);
}

std::vector<std::string> near_matches(std::string_view wanted, const std::vector<std::string>& names,
                                      std::size_t count) {
  const std::string target = text::lower_case(wanted);
  const unsigned limit = target.size() <= 3 ? 1 : target.size() <= 8 ? 2 : 3;
  using Candidate = std::tuple<unsigned, std::size_t, std::string>;
  std::vector<Candidate> candidates;
  for (const std::string& name : names) {
    const std::string candidate = text::lower_case(name);
    unsigned distance = edit_distance(target, candidate, limit);
    // "python3-requests" is a match for "requests", after nearer ones.
    if (distance > limit && target.size() >= 4 && candidate.find(target) != std::string::npos)
      distance = limit + 1;
    else if (distance > limit)
      continue;
    candidates.emplace_back(distance, name.size(), name);
  }
  std::sort(candidates.begin(), candidates.end());
  std::vector<std::string> nearest;
  for (const auto& candidate : candidates) {
    if (nearest.size() == count) break;
    nearest.push_back(std::get<2>(candidate));
  }
  return nearest;
}

}  // namespace nixery::reference
