// Checks the blobs' bytes and the digests of their tars.
#pragma once

#include <map>

#include "image/digest.h"
#include "maintenance/findings.h"
#include "tree/tree.h"

namespace nixery::maintenance {

using DiffIds = std::map<image::Digest, image::Digest>;  // of layer blobs: the real digest of the tar

// Hashes every blob, on all cores. Returns the real diff ids of valid blobs that configs refer to: from the recipe if
// that has a checksum, else by decompression. Throws Error{storage}.
DiffIds verify_blobs(Findings& findings, const tree::Tree& tree);

// Whether the blob is rebuilt on demand.
bool can_make_again(const tree::Tree& tree, const image::Digest& blob);

}  // namespace nixery::maintenance
