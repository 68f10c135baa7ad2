// A tree on two directories, whose path names tests may know.
#pragma once

#include <memory>

#include "tree/directory_store.h"
#include "tree/layout.h"
#include "tree/tree.h"

namespace nixery::test {

inline tree::Tree tree_at(const tree::Layout& layout) {
  return tree::Tree(std::make_shared<tree::DirectoryStore>(layout.tree, layout.state));
}

}  // namespace nixery::test
