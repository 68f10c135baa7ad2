// Checks manifests and indexes: their bytes, names and references, and their configs.
#pragma once

#include <functional>

#include "image/parse.h"
#include "maintenance/findings.h"
#include "maintenance/verify_blobs.h"
#include "tree/tree.h"

namespace nixery::maintenance {

// `diff_ids` are the real ones. Throws Error{storage}.
void verify_manifests(Findings& findings, const tree::Tree& tree, const DiffIds& diff_ids);

// Calls `visit` with each manifest, parsed, in no particular order. Skips what cannot be parsed: verify_manifests()
// reports it.
void for_each_manifest(const tree::Tree& tree, const std::function<void(const image::ParsedManifest&)>& visit);

}  // namespace nixery::maintenance
