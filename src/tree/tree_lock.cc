#include "tree/tree_lock.h"

namespace nixery::tree {

namespace {

os::Lock lock_shared(const Layout& layout, const std::stop_token& stop) {
  // Released at once; a waiting collection holds it.
  const os::Lock gate(layout.lock("gate"), stop, os::Lock::Mode::exclusive, tree_lock_limit);
  return os::Lock(layout.lock("tree"), stop, os::Lock::Mode::shared, tree_lock_limit);
}

}  // namespace

SharedTreeLock::SharedTreeLock(const Layout& layout, const std::stop_token& stop) : lock_(lock_shared(layout, stop)) {}

ExclusiveTreeLock::ExclusiveTreeLock(const Layout& layout, const std::stop_token& stop)
    : gate_(layout.lock("gate"), stop, os::Lock::Mode::exclusive, tree_lock_limit),
      lock_(layout.lock("tree"), stop, os::Lock::Mode::exclusive, tree_lock_limit) {}

}  // namespace nixery::tree
