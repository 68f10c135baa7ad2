// A software bill of materials in SPDX 2.3's JSON (spdx.github.io/spdx-spec/v2.3, clauses 6 to 11).
//
// The document DESCRIBES the image (clause 7: a package of purpose CONTAINER), which CONTAINS each store path; a path
// DEPENDS_ON the paths that it refers to. A path's SHA256 is that of its NAR, as `nix-store --query --hash` prints it;
// the image's is its manifest's digest. Licence, homepage and drv path are known for the requested packages; other
// paths have only what their name contains.
#pragma once

#include <string>
#include <string_view>

#include "attestations/subject.h"

namespace nixery::attestations {

inline constexpr std::string_view spdx_media_type = "application/spdx+json";

std::string spdx_document(const Subject& subject);

}  // namespace nixery::attestations
