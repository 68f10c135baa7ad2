// Checks tags and their records.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

// Call it after verify_manifests(). Throws Error{storage}.
void verify_tags(Findings& findings, const VerifiedTree& tree);

}  // namespace nixery::maintenance
