#include "tree/recent.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "reference/reference.h"

namespace nixery::tree {

std::vector<RecentTag> recent_tags(const Tree& tree, std::size_t count) {
  std::vector<RecentTag> found;
  std::set<std::string> seen;
  tree.store().list(Kind::tag, "", [&](const ObjectName& name, const ObjectInfo& info) {
    if (!reference::is_repository(name.repository()) || !reference::is_tag(name.tag())) return true;
    if (reference::is_digest_tag(name.tag())) return true;
    const auto digest = read_tag(tree.store(), name);
    if (!digest || !has_manifest(tree.store(), *digest) || !seen.insert(name.key()).second) return true;
    const auto time = std::chrono::floor<std::chrono::seconds>(info.modified).time_since_epoch();
    found.push_back({std::string(name.repository()), std::string(name.tag()), *digest, time.count()});
    return true;
  });
  const auto newer = [](const RecentTag& a, const RecentTag& b) {
    return std::tie(b.time, a.repository, a.tag) < std::tie(a.time, b.repository, b.tag);
  };
  const auto end = found.begin() + static_cast<std::ptrdiff_t>(std::min(count, found.size()));
  std::partial_sort(found.begin(), end, found.end(), newer);
  found.erase(end, found.end());
  return found;
}

}  // namespace nixery::tree
