#include "tree/recent.h"

#include <sys/stat.h>

#include <algorithm>
#include <tuple>

#include "reference/reference.h"
#include "tree/listing.h"

namespace nixery::tree {

std::vector<RecentTag> recent_tags(const Tree& tree, std::size_t count) {
  std::vector<RecentTag> found;
  for (const std::string& repository : repositories(tree.layout()))
    for (const std::string& tag : tags(tree.layout(), repository)) {
      if (reference::is_digest_tag(tag)) continue;
      struct stat link {};
      if (lstat(tree.layout().tag(repository, tag).c_str(), &link) != 0) continue;
      if (const auto digest = tree.digest_of_tag(repository, tag))
        found.push_back({repository, tag, *digest, link.st_mtim.tv_sec});
    }
  const auto newer = [](const RecentTag& a, const RecentTag& b) {
    return std::tie(b.time, a.repository, a.tag) < std::tie(a.time, b.repository, b.tag);
  };
  const auto end = found.begin() + static_cast<std::ptrdiff_t>(std::min(count, found.size()));
  std::partial_sort(found.begin(), end, found.end(), newer);
  found.erase(end, found.end());
  return found;
}

}  // namespace nixery::tree
