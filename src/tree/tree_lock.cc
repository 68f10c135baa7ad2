#include "tree/tree_lock.h"

namespace nixery::tree {

namespace {

os::Lock hold(const Layout& layout) {
  const os::Lock gate(layout.lock("gate"));  // let go of at once; shut while somebody waits to be alone
  return os::Lock(layout.lock("tree"), os::Lock::Mode::shared);
}

}  // namespace

SharedTreeLock::SharedTreeLock(const Layout& layout) : lock_(hold(layout)) {}

ExclusiveTreeLock::ExclusiveTreeLock(const Layout& layout) : gate_(layout.lock("gate")), lock_(layout.lock("tree")) {}

}  // namespace nixery::tree
