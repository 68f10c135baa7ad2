// The tree that a verification examines: a directory's, whose files it looks at as well as at the objects in them.
#pragma once

#include <memory>

#include "tree/directory_store.h"
#include "tree/tree.h"

namespace nixery::maintenance {

class VerifiedTree : public tree::Tree {
 public:
  explicit VerifiedTree(std::shared_ptr<const tree::DirectoryStore> store)
      : tree::Tree(store), layout_(store->layout()) {}
  const tree::Layout& layout() const { return layout_; }

 private:
  const tree::Layout layout_;
};

}  // namespace nixery::maintenance
