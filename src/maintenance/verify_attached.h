// Checks attachments of images: lists of referrers, documents, signatures.
#pragma once

#include "maintenance/findings.h"
#include "tree/tree.h"

namespace nixery::maintenance {

// Call it only for repairs, before the other checks. Forgets images that lost an attachment and drops their tags, so
// that the next pull attaches it again. Throws Error{storage}.
void let_attach_again(Findings& findings, const tree::Tree& tree);

// Compares lists of referrers with the referring manifests, and checks signatures if VerifyOptions requires them.
// Throws Error{storage}.
void verify_attached(Findings& findings, const tree::Tree& tree);

}  // namespace nixery::maintenance
