// Images of a tree as a tree of their own: exactly what a host with nothing but a web server needs to serve them.
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
  std::vector<image::Digest> images;  // what each reference's tag leads to, in the order of the references
  std::size_t tags = 0, manifests = 0, blobs = 0;
  std::uint64_t bytes = 0;        // of all these blobs
  std::uint64_t added_bytes = 0;  // of those that were not there yet
};

// Brings the references' tags, their manifests (an index's members too), configs and layers, and all that refers to
// these manifests, into `directory`, in the same layout. Blobs are hard links where the file system allows, else
// copies.
//
// Nothing is written unless all of it is in the tree. Then it is published in the order blobs, manifests, lists of
// referrers, tags, each atomically, so that the directory can be served meanwhile; what is there already stays, and an
// export that was cut off is finished by the next. Nothing is ever removed from the directory.
//
// Throws Error{unknown_manifest} or Error{unknown_blob} that says which image to build first, and Error{storage}.
ExportedTree export_tree(const tree::Tree& tree, std::span<const reference::Reference> references,
                         const std::filesystem::path& directory);

}  // namespace nixery::pipeline
