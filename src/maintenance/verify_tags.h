// Tags, and the records of what they were built from.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

// To be called after verify_manifests(). Throws Error{storage}.
void verify_tags(Findings& findings, const VerifiedTree& tree);

}  // namespace nixery::maintenance
