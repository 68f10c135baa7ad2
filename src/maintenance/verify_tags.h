// Checks tags and their records.
#pragma once

#include "maintenance/findings.h"
#include "tree/tree.h"

namespace nixery::maintenance {

// Call it after verify_manifests(). Throws Error{storage}.
void verify_tags(Findings& findings, const tree::Tree& tree);

}  // namespace nixery::maintenance
