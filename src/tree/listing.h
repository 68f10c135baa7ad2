// What has been built, read off the tags' links: for the distribution-spec's "Content Discovery".
//
// Names come in ascending order of their bytes, each once. Only what can be pulled is listed: well-formed names whose
// link leads to a manifest that is in the tree. Nothing is locked: what is published or dropped meanwhile may be in the
// list or not, and a directory that goes away has no names. Thread-safe. Throws Error{storage} for directories that are
// there and cannot be read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tree/layout.h"

namespace nixery::tree {

// Those with at least one tag.
std::vector<std::string> repositories(const Layout& layout);

// None for a repository that was never built. `repository` must have passed the reference parser.
std::vector<std::string> tags(const Layout& layout, std::string_view repository);

}  // namespace nixery::tree
