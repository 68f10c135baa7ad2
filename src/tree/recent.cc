#include "tree/recent.h"

#include <algorithm>
#include <tuple>

#include "reference/reference.h"
#include "tree/listing.h"

namespace nixery::tree {

std::vector<RecentTag> recent_tags(const Tree& tree, std::size_t count) {
  std::vector<RecentTag> found;
  for (const std::string& repository : repositories(tree.store()))
    for (const std::string& tag : tags(tree.store(), repository)) {
      if (reference::is_digest_tag(tag)) continue;
      const auto status = tree.store().status(ObjectName::tag(repository, tag));
      const auto digest = tree.digest_of_tag(repository, tag);
      if (!status || !digest) continue;
      const auto time = std::chrono::floor<std::chrono::seconds>(status->modified).time_since_epoch();
      found.push_back({repository, tag, *digest, time.count()});
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
