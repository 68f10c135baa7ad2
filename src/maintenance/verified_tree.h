// The tree that a verification examines: a directory's, whose files it looks at as well as at the objects in them.
#pragma once

#include <memory>

#include "error.h"
#include "image/parse.h"
#include "os/directory.h"
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

// Calls `visit` with each manifest, parsed, in no particular order. Skips what cannot be parsed: verify_manifests()
// reports it.
template <typename Visit>
void for_each_manifest(const VerifiedTree& tree, Visit&& visit) {
  os::for_each_entry(tree.layout().directory(tree::Kind::manifest), [&](const auto& dir) {
    const auto digest = image::Digest::parse_hex(dir.path().filename().string());
    const auto stored = digest ? tree.manifest(*digest) : std::nullopt;
    if (!stored) return;
    try {
      visit(image::parse_manifest(stored->bytes, *digest));
    } catch (const Error& error) {
      if (error.failure() != Failure::corrupt) throw;
    }
  });
}

}  // namespace nixery::maintenance
