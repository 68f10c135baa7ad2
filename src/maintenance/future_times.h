// Files with times in the future, from a wrong clock. They would stay young until that time; so the first collection
// that sees them sets them to now.
//
// Call it from a collection that believes its own clock (last_run.h), before it waits for the exclusive tree lock:
// builds that touched a file earlier have then published its reference (tree/tree_lock.h).
#pragma once

#include "maintenance/collect.h"
#include "maintenance/inventory.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

// Sets the times of such blobs and manifests to now, also in the inventory; in a dry run only there. Throws
// Error{storage}.
void reset_future_times(const tree::BlobStore& store, Inventory& inventory, os::Time now, Mode mode);

// The same for dangling tags; other tags are as old as their manifest.
void reset_future_tags(const tree::BlobStore& store, Inventory& inventory, os::Time now, Mode mode);

}  // namespace nixery::maintenance
