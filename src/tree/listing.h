// What has been built, from the tags: for the distribution-spec's "Content Discovery".
//
// Names come in ascending order of their bytes, each once. Only what can be pulled is listed: well-formed names that
// lead to a manifest that is in the store. Nothing is locked: what is published or dropped meanwhile may be in the list
// or not. Thread-safe. Throws Error{storage} if the store cannot be read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tree/blob_store.h"

namespace nixery::tree {

// Repositories with at least one tag.
std::vector<std::string> repositories(const BlobStore& store);

// Empty for a repository that was never built. `repository` must have passed the reference parser.
std::vector<std::string> tags(const BlobStore& store, std::string_view repository);

}  // namespace nixery::tree
