// What was built last, from the tags. Lists all of them: cache the answer if it is asked for often.
// Thread-safe. Throws Error{storage} as tree/listing.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/digest.h"
#include "tree/tree.h"

namespace nixery::tree {

struct RecentTag {
  std::string repository, tag;
  image::Digest manifest;
  std::int64_t time;  // when the tag was published: seconds since 1970
};

// At most `count`, newest first, without signatures and documents.
std::vector<RecentTag> recent_tags(const Tree& tree, std::size_t count);

}  // namespace nixery::tree
