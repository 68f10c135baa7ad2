// Exports images of a tree as a separate tree with exactly the files that a web server needs to serve them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "image/digest.h"
#include "reference/reference.h"
#include "tree/tree.h"

namespace nixery::pipeline {

struct ExportedTree {
  std::vector<image::Digest> images;  // the digest of each reference's tag, in the order of the references
  std::size_t tags = 0, manifests = 0, blobs = 0;
  std::uint64_t bytes = 0;        // of all these blobs
  std::uint64_t added_bytes = 0;  // of the new ones
};

// Exports the references' tags, their manifests (with an index's members), configs and layers, and their referrers, to
// `directory` in the same layout. Blobs are hard links if the file system allows, else copies.
//
// Nothing is written unless everything is in the tree. It is published in the order blobs, manifests, lists of
// referrers, tags, each atomically, so that the directory can be served meanwhile. Existing files stay, and the next
// export completes an interrupted one. Nothing is ever removed from the directory.
//
// Throws Error{unknown_manifest} or Error{unknown_blob} that names the image to build first, and Error{storage}.
ExportedTree export_tree(const tree::Tree& tree, std::span<const reference::Reference> references,
                         const std::filesystem::path& directory);

}  // namespace nixery::pipeline
