// What collected images leave in the store and in the local state, and what was left by processes that were killed:
// temporary files, tags and records of the store; archives and directories of package sets that were not fetched to
// their end; locks.
//
// What may still be written stays for a day; a time in the future counts as now. All of it can be made again, and all
// readers cope with its absence; so nothing is locked but what is a lock, nix's roots of an image, and the tree while
// directories of names go that it has left empty.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <set>

#include "image/digest.h"
#include "maintenance/collect.h"
#include "tree/blob_store.h"
#include "tree/local_state.h"

namespace nixery::maintenance {

struct OrphanLimits {
  std::chrono::seconds grace;
  std::optional<std::chrono::seconds> max_age;  // of images: logs of builds are kept no longer, nor than two weeks
  bool clock_is_believed;                       // else nothing is removed for its age
};

// To be called by who neither holds the tree nor is alone with it. `stays` tells whether a blob or a manifest is in the
// tree; `missing` are blobs that are not, although manifests lead to them: what can bring them back stays, however old
// it is. Returns how many files and directories went, or would.
std::size_t remove_orphans(const tree::BlobStore& store, const tree::LocalState& local,
                           const std::function<bool(const image::Digest&)>& stays,
                           const std::set<image::Digest>& missing, os::Time now, const OrphanLimits& limits, Mode mode);

}  // namespace nixery::maintenance
