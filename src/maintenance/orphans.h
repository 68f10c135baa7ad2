// What collected images leave in the store and in the local state, and what was left by processes that were killed:
// temporary files, tags and records of the store; archives and directories of package sets that were not fetched to
// their end; locks.
//
// Files that may still be written stay for a day; a time in the future counts as now. All of it can be made again, and
// all readers tolerate its absence. So only these are locked: lock files, Nix's roots of an image, and the tree while
// empty directories of names are removed.
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
  std::optional<std::chrono::seconds> max_age;  // of images: build logs are kept no longer than this or two weeks
  bool clock_is_believed;                       // otherwise nothing is removed by age
};

// The caller must hold no tree lock. `stays` says whether a blob or a manifest is in the tree; `missing` are missing
// blobs that manifests refer to: files that can restore them stay regardless of age. Returns the number of files and
// directories that were, or would be, removed.
std::size_t remove_orphans(const tree::BlobStore& store, const tree::LocalState& local,
                           const std::function<bool(const image::Digest&)>& stays,
                           const std::set<image::Digest>& missing, os::Time now, const OrphanLimits& limits, Mode mode);

}  // namespace nixery::maintenance
