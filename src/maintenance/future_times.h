// Files whose times lie in the future, as a clock was wrong when they were written or used. They would stay young until
// that time comes; so from the first collection that sees them they count as of now.
//
// To be called by a collection that believes its own clock (last_run.h), and before it waits to be alone with the tree:
// whoever touched a file before that has published by then what leads to it (tree/tree_lock.h).
#pragma once

#include "maintenance/collect.h"
#include "maintenance/inventory.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

// Sets the times of such blobs and manifests to now, in the inventory as well; in a dry run only there. Throws
// Error{storage}.
void reset_future_times(const tree::BlobStore& store, Inventory& inventory, os::Time now, Mode mode);

// Likewise of tags that lead nowhere; the others are as old as what they lead to.
void reset_future_tags(const tree::BlobStore& store, Inventory& inventory, os::Time now, Mode mode);

}  // namespace nixery::maintenance
