// Whether what lies in TREE and STATE is of the kind that its name promises: a directory, a file, a link.
//
// The web server answers 403 for a link in place of a blob or a manifest and for what it may not read, and 301 for a
// directory; a worker cannot publish over a directory, nor below a file, and answers 503.
#pragma once

#include "maintenance/findings.h"
#include "maintenance/verified_tree.h"

namespace nixery::maintenance {

// To be called before the other checks: they count on the shape. Throws Error{storage}.
void verify_shape(Findings& findings, const tree::Layout& layout);

}  // namespace nixery::maintenance
