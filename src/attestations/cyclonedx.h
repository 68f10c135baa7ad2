// A software bill of materials in CycloneDX 1.5's JSON (cyclonedx.org/docs/1.5/json).
//
// The image is metadata.component; each store path is a component whose bom-ref is the path. Packages that were asked
// for are of type "application", with the licence and homepage that the set gives; others are of type "library". A
// path's SHA-256 is that of its NAR (the property nix:hash_of says so). `dependencies` are Nix's references, all of
// them.
#pragma once

#include <string>
#include <string_view>

#include "attestations/subject.h"

namespace nixery::attestations {

inline constexpr std::string_view cyclonedx_media_type = "application/vnd.cyclonedx+json";

std::string cyclonedx_document(const Subject& subject);

}  // namespace nixery::attestations
