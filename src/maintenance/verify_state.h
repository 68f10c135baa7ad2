// Checks STATE's records of images, layers and segments, recipes, and copies of small blobs.
#pragma once

#include "maintenance/findings.h"
#include "tree/tree.h"

namespace nixery::maintenance {

// Call it last. Repairs restore missing index entries of layers from recipes, and make missing copies of small blobs.
// Throws Error{storage}.
void verify_state(Findings& findings, const tree::Tree& tree);

}  // namespace nixery::maintenance
