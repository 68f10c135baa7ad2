// STATE's records of images, layers and segments, recipes, and the copies of small blobs.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

// To be called last. With repairs, what the index of layers lacks is made again from recipes, and a small blob that has
// no copy yet is given one. Throws Error{storage}.
void verify_state(Findings& findings, const VerifiedTree& tree);

}  // namespace nixery::maintenance
