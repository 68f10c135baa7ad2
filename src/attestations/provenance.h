// How an image came to be: an in-toto statement (in-toto attestation framework, spec/v1/statement.md) whose predicate
// is SLSA provenance v1 (slsa.dev/spec/v1.0/provenance). It is not signed by itself: the registry's signature of the
// image says who published it, and this document is found under the image's digest.
//
//   externalParameters    what the client chose: reference, packages, platform
//   resolvedDependencies  the package set's revision, and the derivation of each package
//   runDetails.builder    who built it: the setting NIXERY_BUILDER_ID
//
// There are no times in it, so building the same again says the same.
#pragma once

#include <string>
#include <string_view>

#include "attestations/subject.h"

namespace nixery::attestations {

inline constexpr std::string_view provenance_media_type = "application/vnd.in-toto+json";
inline constexpr std::string_view provenance_predicate_type = "https://slsa.dev/provenance/v1";
// Stands for the meaning of externalParameters, as above. A URN, because deployments share no page that could explain
// it.
inline constexpr std::string_view provenance_build_type = "urn:nixery:build:1";
// The id of a builder without a configured name. Verifiers accept builders by name, so this one proves nothing.
inline constexpr std::string_view unnamed_builder = "urn:nixery:builder:unnamed";

// `builder_id`: a URI; empty for unnamed_builder.
std::string provenance_statement(const Subject& subject, std::string_view builder_id);

}  // namespace nixery::attestations
