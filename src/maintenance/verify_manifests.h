// Checks manifests and indexes: their bytes, file names and references, and their configs.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"
#include "maintenance/verify_blobs.h"

namespace nixery::maintenance {

// `diff_ids` are the real ones. Throws Error{storage}.
void verify_manifests(Findings& findings, const VerifiedTree& tree, const DiffIds& diff_ids);

}  // namespace nixery::maintenance
