#include "tree/tree_lock.h"

namespace nixery::tree {

namespace {

using Mode = BlobStore::LockMode;

LockHandle lock_shared(const BlobStore& store, const std::stop_token& stop) {
  // Released at once; a waiting collection holds it.
  const auto gate = store.lock("gate", stop, Mode::exclusive, tree_lock_limit);
  return store.lock("tree", stop, Mode::shared, tree_lock_limit);
}

}  // namespace

SharedTreeLock::SharedTreeLock(const BlobStore& store, const std::stop_token& stop) : lock_(lock_shared(store, stop)) {}

ExclusiveTreeLock::ExclusiveTreeLock(const BlobStore& store, const std::stop_token& stop)
    : gate_(store.lock("gate", stop, Mode::exclusive, tree_lock_limit)),
      lock_(store.lock("tree", stop, Mode::exclusive, tree_lock_limit)) {}

}  // namespace nixery::tree
