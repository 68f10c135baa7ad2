// A software bill of materials in CycloneDX 1.5's JSON (cyclonedx.org/docs/1.5/json).
//
// The image is metadata.component; each store path is a component whose bom-ref is the path. Requested packages have
// type "application", with the licence and homepage from the package set; others have type "library". A path's SHA-256
// is that of its NAR (see the property nix:hash_of). `dependencies` are all of Nix's references.
#pragma once

#include <string>
#include <string_view>

#include "attestations/subject.h"

namespace nixery::attestations {

inline constexpr std::string_view cyclonedx_media_type = "application/vnd.cyclonedx+json";

std::string cyclonedx_document(const Subject& subject);

}  // namespace nixery::attestations
