// How builds and collections of garbage share the tree.
//
// A build that leads to what is there already (a manifest to a blob, an index or a tag to a manifest) holds the tree
// from when it finds it, and renews it (os::touch), until what leads to it is published. A collection
//   1. lists what is there, with its times;
//   2. waits until it is alone: whoever renewed something before 1 has published by then;
//   3. lists the manifests anew, as whoever it waited for may have published some, and reads what leads to what, alone
//   no longer;
//   4. is alone again, and removes what nothing leads to if it has the time of 1, or, a manifest, of 3: who counts on
//   it since has renewed it.
// Times are only compared for being the same, so clocks may jump and differ between the hosts that share a tree.
//
// Locks are files in STATE (os/lock.h): whoever dies lets go. A collection that waits lets no new holder in, so it is
// never starved. Thread-safe. Throws Error{storage}.
#pragma once

#include "os/lock.h"
#include "tree/layout.h"

namespace nixery::tree {

// Many may hold at once. A thread must not hold twice: a collection may come to wait in between.
class SharedTreeLock {
 public:
  explicit SharedTreeLock(const Layout& layout);

 private:
  os::Lock lock_;
};

// Nobody holds while it lives. To be kept short: builds wait.
class ExclusiveTreeLock {
 public:
  explicit ExclusiveTreeLock(const Layout& layout);

 private:
  os::Lock gate_;
  os::Lock lock_;
};

}  // namespace nixery::tree
