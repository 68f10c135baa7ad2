// How builds and garbage collections share the tree.
//
// A build that leads to what is in the tree already (a manifest to a blob, an index or a tag to a manifest) takes a
// SharedTreeLock, touches each of these (BlobStore::touch), which fails for what a collection has removed, and
// publishes what leads to them. A collection
//   1. lists the files of the tree with their times;
//   2. takes and releases an ExclusiveTreeLock: what was touched before 1 has been published by then;
//   3. lists the manifests again, as some may have been published meanwhile, and reads their references;
//   4. takes an ExclusiveTreeLock and removes unreferenced files that still have the time of 1 (manifests: of 3),
//      because builds have touched all files that they use since then.
// Times are compared for equality only, so clocks may jump and may differ between hosts that share a tree.
//
// A lock is released when its process dies. A waiting collection admits no new builds, so it is never starved. Both are
// held for milliseconds to seconds: waiting longer than tree_lock_limit is Error{unavailable}, as is a stop request.
// Thread-safe. Throws Error{storage}.
#pragma once

#include <stop_token>

#include "tree/blob_store.h"

namespace nixery::tree {

inline constexpr std::chrono::seconds tree_lock_limit{120};

// Shared by many holders. A thread must not take it twice: a collection may wait in between.
class SharedTreeLock {
 public:
  explicit SharedTreeLock(const BlobStore& store, const std::stop_token& stop = {});

 private:
  LockHandle lock_;
};

// Exclusive of every other lock. Builds wait for it.
class ExclusiveTreeLock {
 public:
  explicit ExclusiveTreeLock(const BlobStore& store, const std::stop_token& stop = {});

 private:
  LockHandle gate_;
  LockHandle lock_;
};

}  // namespace nixery::tree
