// One collection or verification at a time, among all hosts that share the state.
#pragma once

#include "error.h"
#include "tree/blob_store.h"

namespace nixery::maintenance {

// Throws Error{too_busy} while another process holds it, and as BlobStore::require().
inline tree::LockHandle maintenance_lock(const tree::BlobStore& store) {
  store.require();
  if (auto lock = store.try_lock("upkeep")) return lock;
  throw Error(Failure::too_busy, "another `nixery gc` or `nixery verify` is running on this registry");
}

}  // namespace nixery::maintenance
