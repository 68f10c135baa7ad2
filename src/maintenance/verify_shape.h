// Checks that the entries of TREE and STATE have the right type: a directory, a file, a link.
//
// The web server answers 403 for a link in place of a blob or a manifest and for unreadable files, and 301 for a
// directory; a worker cannot publish over a directory, nor below a file, and answers 503.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

// Call it before the other checks, which rely on it. Throws Error{storage}.
void verify_shape(Findings& findings, const tree::Layout& layout);

}  // namespace nixery::maintenance
