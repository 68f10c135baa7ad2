// Tags, and the records of what they were built from.
#pragma once

#include "maintenance/findings.h"
#include "tree/tree.h"

namespace nixery::maintenance {

// To be called after verify_manifests(). Throws Error{storage}.
void verify_tags(Findings& findings, const tree::Tree& tree);

}  // namespace nixery::maintenance
