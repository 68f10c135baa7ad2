// What is attached to images: lists of referrers, documents, signatures.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

// Only if repairs are wanted, and before the other checks remove the traces: an image that lost something that
// was attached to it is made unknown, and its tags are dropped, so that the next pull attaches it again. Throws
// Error{storage}.
void let_attach_again(Findings& findings, const VerifiedTree& tree);

// Lists of referrers against the manifests that refer, and signatures if VerifyOptions says that images have them.
// Throws Error{storage}.
void verify_attached(Findings& findings, const VerifiedTree& tree);

}  // namespace nixery::maintenance
