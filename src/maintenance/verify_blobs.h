// The blobs' bytes, and the digests of the tars in them.
#pragma once

#include <map>

#include "image/digest.h"
#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

using DiffIds = std::map<image::Digest, image::Digest>;  // of layer blobs: the real digest of the tar

// Hashes every blob, on all cores. Returns the diff ids of those that a config says the diff id of: of a sound blob the
// real one, from the recipe if that has a checksum, else by decompressing it. Throws Error{storage}.
DiffIds verify_blobs(Findings& findings, const VerifiedTree& tree);

// Whether the blob is made again when it is asked for.
bool can_make_again(const VerifiedTree& tree, const image::Digest& blob);

}  // namespace nixery::maintenance
